import assert from "node:assert/strict";
import test from "node:test";

import { transform } from "esbuild";

import { heading } from "../src/page.js";

test("a heading has an anchor", () => {
  assert.equal(heading("Bit for bit"), '<h2 id="bit-for-bit">Bit for bit</h2>');
});

test("a native program that came as a package of this platform runs", async () => {
  const { code } = await transform("let x: number = 1 + 1; console.log(x)", { loader: "ts", minify: true });
  assert.equal(code.trim(), "let x=2;console.log(x);");
});
