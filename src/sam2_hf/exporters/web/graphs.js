// The graphs of a folder, and tensors for them.
import * as ort from './ort/ort.wasm.min.mjs';

ort.env.wasm.wasmPaths = new URL('./ort/', import.meta.url).href;
// Threads need a page that is isolated from others (two headers of the server); without them there is one.
ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;

export const floats = (data, ...shape) => new ort.Tensor('float32', data, shape);
export const integers = (values, ...shape) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), shape);
export const flags = (values, ...shape) => new ort.Tensor('bool', Uint8Array.from(values, Number), shape);

export class Graphs {
  // Reads the constants; a graph is loaded when it is first run.
  static async open(folder) {
    const answer = await fetch(new URL('parameters.json', folder));
    if (!answer.ok) throw new Error(`parameters.json: ${answer.status}`);
    return new Graphs(folder, await answer.json());
  }

  constructor(folder, parameters) {
    this.folder = folder;
    this.parameters = parameters;
    this.files = parameters.files[parameters.dtypes[0]];
    this.sessions = new Map();
  }

  load(name) {
    if (!this.sessions.has(name)) {
      const address = new URL(this.files[name], this.folder).href;
      this.sessions.set(name, ort.InferenceSession.create(address, { executionProviders: ['wasm'] }));
    }
    return this.sessions.get(name);
  }

  async run(name, inputs) {
    const session = await this.load(name);
    // A graph of SAM 2.0 does not take distances.
    const taken = Object.fromEntries(session.inputNames.map((input) => [input, inputs[input]]));
    return session.run(taken);
  }
}
