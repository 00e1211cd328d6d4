// Golden vectors in plain JavaScript (Node 18 or newer, no packages): reads the manifest and the
// safetensors files, checks every hash and shape, and computes three operators again.
//
//   ssm-spec vectors export vectors
//   node read.mjs vectors

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const product = (shape) => shape.reduce((a, b) => a * b, 1);

/** The tensors of a safetensors file: name -> { dtype, shape, bytes }. */
function readSafetensors(file) {
  const size = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + size));
  const body = file.subarray(8 + size);
  return Object.fromEntries(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(([name, { dtype, shape, data_offsets: [start, end] }]) => [
        name,
        { dtype, shape, bytes: body.subarray(start, end) },
      ]),
  );
}

/** The numbers of a tensor, in row-major order; a complex one as pairs (re, im). */
function numbers({ dtype, bytes }) {
  const count = bytes.length / 8;
  return dtype === "I64"
    ? Array.from({ length: count }, (_, i) => Number(bytes.readBigInt64LE(8 * i)))
    : Array.from({ length: count }, (_, i) => bytes.readDoubleLE(8 * i));
}

/** One case as { parameters, input, output, cotangent, gradient }, each argument as { shape, data }. */
function readCase(entry, tensors) {
  const found = { parameters: entry.parameters, input: {}, output: {}, cotangent: {}, gradient: {} };
  for (const [name, { dtype, shape, sha256: hash }] of Object.entries(entry.tensors)) {
    const tensor = tensors[name];
    const stored = dtype === "complex128" ? [...shape, 2] : shape;
    if (sha256(tensor.bytes) !== hash) throw new Error(`${name}: the hash is not the manifest's`);
    if (tensor.shape.join() !== stored.join()) throw new Error(`${name}: the shape is ${tensor.shape}`);
    if (tensor.bytes.length !== 8 * product(stored)) throw new Error(`${name}: the size is wrong`);
    const [kind, argument] = name.split("/").slice(1);
    found[kind][argument] = { dtype, shape, data: numbers(tensor) };
  }
  return found;
}

/** y_t = Σ_{j ≤ t} K_j u_{t−j}, one kernel a channel. */
function causalConvolution({ u, K }) {
  const [b, d, l] = u.shape;
  const k = K.shape[1];
  const y = new Float64Array(b * d * l);
  for (let row = 0; row < b * d; row++)
    for (let t = 0; t < l; t++)
      for (let j = 0; j <= Math.min(t, k - 1); j++)
        y[row * l + t] += K.data[(row % d) * k + j] * u.data[row * l + t - j];
  return { y };
}

/** A_nk = −√((2n+1)(2k+1)) below the diagonal, −(n+1) on it; B_n = √(2n+1). */
function hippoLegs(_, { n }) {
  const A = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let k = 0; k <= i; k++) A[i * n + k] = i > k ? -Math.sqrt((2 * i + 1) * (2 * k + 1)) : -(i + 1);
  return { A, B: Float64Array.from({ length: n }, (_, i) => Math.sqrt(2 * i + 1)) };
}

/** h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t u_t, y_t = Σ_n C_t h_t, for B and C of shape (b, n, l). */
function selectiveScan({ u, delta, A, B, C }) {
  const [b, d, l] = u.shape;
  const n = A.shape[1];
  const y = new Float64Array(b * d * l);
  const last = new Float64Array(b * d * n);
  for (let row = 0; row < b * d; row++)
    for (let s = 0; s < n; s++)
      for (let t = 0, h = 0; t < l; t++) {
        const [step, place] = [delta.data[row * l + t], (Math.floor(row / d) * n + s) * l + t];
        h = Math.exp(step * A.data[(row % d) * n + s]) * h + step * B.data[place] * u.data[row * l + t];
        y[row * l + t] += C.data[place] * h;
        last[row * n + s] = h;
      }
  return { y, last_state: last };
}

const OPERATORS = {
  causal_convolution: { compute: causalConvolution, takes: () => true },
  hippo_legs: { compute: hippoLegs, takes: () => true },
  selective_scan: {
    compute: selectiveScan,
    // The plain scan alone: real, no option, one group.
    takes: ({ input, parameters }) =>
      Object.keys(parameters).length === 0 &&
      Object.keys(input).sort().join() === "A,B,C,delta,u" &&
      input.A.dtype === "float64" &&
      [input.B, input.C].every(({ shape }) => shape.length === 3),
  },
};

/** The largest |found − expected|, in units of the largest |expected| (1 if that is zero). */
function error(found, expected) {
  const size = Math.max(...expected.map(Math.abs), 0) || 1;
  return Math.max(0, ...expected.map((x, i) => Math.abs(found[i] - x))) / size;
}

const directory = process.argv[2] ?? "vectors";
const manifest = JSON.parse(readFileSync(join(directory, "manifest.json"), "utf8"));
if (manifest.schema !== "ssm-spec-vectors-1") throw new Error(`unknown schema ${manifest.schema}`);
let [tensorCount, caseCount, computed, worst] = [0, 0, 0, 0];
for (const [op, { file, sha256: hash, cases }] of Object.entries(manifest.operators)) {
  const bytes = readFileSync(join(directory, file));
  if (sha256(bytes) !== hash) throw new Error(`${file}: the hash is not the manifest's`);
  const tensors = readSafetensors(bytes);
  for (const entry of cases) {
    const found = readCase(entry, tensors);
    tensorCount += Object.keys(entry.tensors).length;
    caseCount += 1;
    if (!OPERATORS[op]?.takes(found)) continue;
    for (const [name, data] of Object.entries(OPERATORS[op].compute(found.input, found.parameters))) {
      const away = error(data, found.output[name].data);
      if (!(away < 1e-13)) throw new Error(`${op}/${entry.name}: ${name} is off by ${away}`);
      worst = Math.max(worst, away);
    }
    computed += 1;
  }
}
console.log(
  `version ${manifest.vectors}: ${caseCount} cases, ${tensorCount} tensors, every hash and shape right; ` +
    `${computed} cases computed again, worst relative error ${worst.toExponential(1)}`,
);
