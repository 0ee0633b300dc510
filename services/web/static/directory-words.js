// What the company directories are called, and the ways in which people sign in.

/** What people call the directory `name`; its name when it is no longer in the settings. */
export function labelOf(name, directories) {
  return directories.find((directory) => directory.name === name)?.label ?? name;
}

/** The directory that a session's `auth_method` names, in words; null for an account that is ours. */
export function originOf(authMethod, directories) {
  const [kind, name] = authMethod.split(":");
  return kind === "oidc" || kind === "ldap" ? labelOf(name, directories) : null;
}

/** How somebody signed in, e.g. “With Head office”. */
export function signedInWith(authMethod, directories) {
  if (authMethod === "invitation") return "With an invitation";
  const origin = originOf(authMethod, directories);
  return origin ? `With ${origin}` : "With a password";
}
