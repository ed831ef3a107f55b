// A workspace: linked into node_modules, with a dependency of its own.
import { kebabCase } from "change-case";

export function anchor(title) {
  return kebabCase(title);
}
