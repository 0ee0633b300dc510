// Server-sent events over fetch (https://html.spec.whatwg.org/multipage/server-sent-events.html), because
// EventSource can neither post a question nor tell an error's reason.

/** Collects text, however it was cut, and gives out whole events `{type, data}`. */
export class EventParser {
  #rest = "";
  #type = "";
  #data = [];

  /** Take the next piece of the stream; return the events it completed. */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    // The last line may go on in the next piece; so may a line end, when the piece ends in "\r".
    this.#rest = lines.pop();
    return lines.map((line) => this.#line(line)).filter((event) => event !== null);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    if (field === "event") this.#type = value;
    return null;
  }

  #dispatch() {
    const event = this.#data.length ? { type: this.#type || "message", data: this.#data.join("\n") } : null;
    this.#type = "";
    this.#data = [];
    return event;
  }
}

/** Yield the events of a streaming response until it ends. */
export async function* eventsOf(response) {
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    // Somebody who stops reading early must also free the connection.
    reader.cancel().catch(() => {});
  }
}
