// Golden vectors in plain JavaScript (Node 18 or newer, no packages): reads the manifest and the
// safetensors files, checks every hash and shape, and computes six operators again, one with its gradients.
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

/** Its gradients: du_t = Σ_j K_j r_{t+j} and dK_j = Σ_{b,t} r_{t+j} u_t, r the cotangent of y. */
function causalConvolutionGradients({ u, K }, _, { y: r }) {
  const l = u.shape[2];
  const [d, k] = K.shape;
  const found = { u: new Float64Array(u.data.length), K: new Float64Array(d * k) };
  for (let row = 0; row < u.shape[0] * d; row++)
    for (let t = 0; t < l; t++)
      for (let j = 0; j < Math.min(k, l - t); j++) {
        const place = (row % d) * k + j;
        found.u[row * l + t] += K.data[place] * r.data[row * l + t + j];
        found.K[place] += r.data[row * l + t + j] * u.data[row * l + t];
      }
  return found;
}

/** y_t = bias + Σ_j w_j x_{t−w+1+j}, then silu if asked for; zeros to the left. */
function causalConv1d({ x, weight, bias }, { activation }) {
  const l = x.shape[2];
  const [d, w] = weight.shape;
  const y = new Float64Array(x.data.length);
  for (let row = 0; row < x.shape[0] * d; row++)
    for (let t = 0; t < l; t++) {
      let v = bias ? bias.data[row % d] : 0;
      for (let j = Math.max(0, w - 1 - t); j < w; j++)
        v += weight.data[(row % d) * w + j] * x.data[row * l + t - w + 1 + j];
      y[row * l + t] = activation ? v / (1 + Math.exp(-v)) : v;
    }
  return { y };
}

/** h_t = a_t h_{t−1} + x_t, element by element, from zero. */
function associativeScan({ a, x }) {
  const h = new Float64Array(x.data.length);
  const l = x.shape[x.shape.length - 1];
  for (let i = 0; i < h.length; i++) h[i] = (i % l ? a.data[i] * h[i - 1] : 0) + x.data[i];
  return { h };
}

/** K_j = 2 Re Σ_n C_n b̄_n e^{jΔλ_n}, b̄ = (e^{Δλ} − 1)/λ B: complex modes are pairs (re, im). */
function s4dKernel({ delta, A, B, C }, { length }) {
  const [d, n] = A.shape;
  const times = ([a, b], [c, e]) => [a * c - b * e, a * e + b * c];
  const over = ([a, b], [c, e]) => times([a, b], [c / (c * c + e * e), -e / (c * c + e * e)]);
  const exp = ([a, b], t) => [Math.exp(a * t) * Math.cos(b * t), Math.exp(a * t) * Math.sin(b * t)];
  const at = (x, i) => [x.data[2 * i], x.data[2 * i + 1]];
  const K = new Float64Array(d * length);
  for (let i = 0; i < d; i++)
    for (let s = i * n; s < (i + 1) * n; s++) {
      const mode = at(A, s);
      const [re, im] = exp(mode, delta.data[i]);
      const weight = times(at(C, s), times(over([re - 1, im], mode), at(B, s)));
      for (let j = 0; j < length; j++)
        K[i * length + j] += 2 * times(weight, exp(mode, j * delta.data[i]))[0];
    }
  return { K };
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

const inputsAre = (input, names) => Object.keys(input).sort().join() === names;
const plain = (parameters) => Object.keys(parameters).length === 0;

const OPERATORS = {
  causal_convolution: {
    compute: causalConvolution,
    gradients: causalConvolutionGradients,
    takes: () => true,
  },
  causal_conv1d: {
    compute: causalConv1d,
    takes: ({ input }) => !input.initial_state && !input.seq_idx,
  },
  hippo_legs: { compute: hippoLegs, takes: () => true },
  ssm_associative_scan: {
    compute: associativeScan,
    takes: ({ input: { a, x } }) => a.dtype === "float64" && a.shape.length === x.shape.length,
  },
  s4d_kernel: {
    compute: s4dKernel,
    takes: ({ input, parameters }) => input.A.dtype === "complex128" && !parameters.discretization,
  },
  selective_scan: {
    compute: selectiveScan,
    // The plain scan alone: real, no option, one group.
    takes: ({ input, parameters }) =>
      plain(parameters) &&
      inputsAre(input, "A,B,C,delta,u") &&
      input.A.dtype === "float64" &&
      [input.B, input.C].every(({ shape }) => shape.length === 3),
  },
};

/** The largest |found − expected|, in units of the largest |expected| (1 if that is zero). */
function error(found, expected) {
  const size = Math.max(...expected.map(Math.abs), 0) || 1;
  return Math.max(0, ...expected.map((x, i) => Math.abs(found[i] - x))) / size;
}

/** How far what is computed here lies from the vectors; an error if that is more than rounding. */
function compare(where, found, expected) {
  const away = Object.entries(found).map(([name, data]) => {
    const off = error(data, expected[name].data);
    if (!(off < 1e-13)) throw new Error(`${where}: ${name} is off by ${off}`);
    return off;
  });
  return Math.max(0, ...away);
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
    const known = OPERATORS[op];
    if (!known?.takes(found)) continue;
    const { input, parameters, cotangent } = found;
    const where = `${op}/${entry.name}`;
    worst = Math.max(worst, compare(where, known.compute(input, parameters), found.output));
    if (known.gradients)
      worst = Math.max(worst, compare(where, known.gradients(input, parameters, cotangent), found.gradient));
    computed += 1;
  }
}
console.log(
  `version ${manifest.vectors}: ${caseCount} cases of ${Object.keys(manifest.operators).length} operators, ` +
    `${tensorCount} tensors, every hash and shape right; ` +
    `${computed} cases computed again, worst relative error ${worst.toExponential(1)}`,
);
