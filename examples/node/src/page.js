import { anchor } from "words";

export function heading(title) {
  return `<h2 id="${anchor(title)}">${title}</h2>`;
}
