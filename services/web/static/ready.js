// A button that nobody listens to yet must not be pressed: `[data-ready]` ones are disabled until now.

/** Enable every button that was waiting for this page's script. */
export function ready() {
  for (const button of document.querySelectorAll("[data-ready]")) button.disabled = false;
}
