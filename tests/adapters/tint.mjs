// Every kernel, in every form, through Tint: modules without a message, pipelines with their constants, on a device
// with WebGPU's default limits. Reads the folder that `cargo run --example shaders -- DIR` writes.
//
//     npm install --prefix FOLDER webgpu && NODE_PATH=FOLDER/node_modules node tests/adapters/tint.mjs DIR [FORM]
//
// Dawn takes Vulkan adapters with the features that it needs (SwiftShader, lavapipe of Mesa 25; not that of Mesa 22).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { create, globals } = createRequire(import.meta.url)('webgpu');
Object.assign(globalThis, globals);

const [dir, only] = process.argv.slice(2);
const index = JSON.parse(readFileSync(join(dir, 'index.json'))).filter(({ form }) => !only || form === only);
const gpu = create([`backend=${process.env.DAWN_BACKEND ?? 'vulkan'}`]);
const adapter = await gpu.requestAdapter();
if (!adapter) {
  console.error('Dawn finds no adapter');
  process.exit(1);
}
let device = await adapter.requestDevice();
console.log(`${index.length} kernels on ${adapter.info.description || adapter.info.device.trim()}`);

const texts = new Map(); // The text as written is the same for all of a shader's entry points.
let refused = 0;
const report = (stem, message) => {
  refused += 1;
  console.log(`${stem}: ${message}`);
};
const moduleOf = async (stem) => {
  const code = readFileSync(join(dir, `${stem}.wgsl`), 'utf8');
  if (!texts.has(code)) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const error = await device.popErrorScope();
    for (const m of messages) report(stem, `${m.type} ${m.lineNum}:${m.linePos} ${m.message}`);
    if (error && messages.length === 0) report(stem, error.message);
    texts.set(code, module);
  }
  return texts.get(code);
};

let done = 0;
for (const { stem, entry, constants } of index) {
  const module = await moduleOf(stem);
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: entry, constants } });
  for (const error of [await device.popErrorScope(), await device.popErrorScope()]) {
    if (error) report(stem, error.message);
  }
  done += 1;
  if (done % 200 === 0) {
    console.log(`${done} done, ${refused} messages`);
    // Pipelines live as long as their device.
    texts.clear();
    device.destroy();
    device = await (await gpu.requestAdapter()).requestDevice();
  }
}
console.log(`${done} kernels, ${refused} messages`);
process.exit(refused ? 1 : 0);
