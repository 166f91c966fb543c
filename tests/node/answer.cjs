// Answer texts with transformers.js, and rows of token ids with ONNX Runtime's WebAssembly; print both as JSON.
//
// node answer.cjs PACKAGES REQUEST
//   PACKAGES  the folder that has node_modules
//   REQUEST   {"model": FOLDER, "dtypes": ["fp32", "q8"], "texts": [...], "rows": [{"input_ids": [...]}, ...]}

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const FILES = { fp32: "model.onnx", q8: "model_quantized.onnx" };

async function answerTexts(transformers, request, dtype) {
  const { env, pipeline, AutoTokenizer } = transformers;
  // Only what lies on this machine.
  env.allowRemoteModels = false;
  env.localModelPath = path.dirname(request.model) + "/";
  const name = path.basename(request.model);
  const classify = await pipeline("text-classification", name, { dtype });
  const tokenizer = await AutoTokenizer.from_pretrained(name);
  const answers = [];
  for (const text of request.texts) {
    const ids = tokenizer(text, { truncation: true }).input_ids.tolist()[0];
    // One text a run, as dynamic INT8 is answered by predict.py, too.
    answers.push({ ids: ids.map(Number), scores: await classify(text, { top_k: null }) });
  }
  return answers;
}

async function answerRows(onnxruntime, request, dtype) {
  const file = fs.readFileSync(path.join(request.model, "onnx", FILES[dtype]));
  const session = await onnxruntime.InferenceSession.create(file, { executionProviders: ["wasm"] });
  const logits = [];
  for (const row of request.rows) {
    const ids = BigInt64Array.from(row.input_ids.map(BigInt));
    const shape = [1, ids.length];
    const inputs = {
      input_ids: new onnxruntime.Tensor("int64", ids, shape),
      attention_mask: new onnxruntime.Tensor("int64", ids.map(() => 1n), shape),
      token_type_ids: new onnxruntime.Tensor("int64", ids.map(() => 0n), shape),
    };
    const feed = {};
    for (const name of session.inputNames) feed[name] = inputs[name];
    const outputs = await session.run(feed);
    logits.push(Array.from(outputs.logits.data));
  }
  return logits;
}

async function main() {
  const [packages, requestFile] = process.argv.slice(2);
  const load = createRequire(path.resolve(packages) + "/");
  const request = JSON.parse(fs.readFileSync(requestFile, "utf-8"));
  const answers = {};
  for (const dtype of request.dtypes) {
    answers[dtype] = {
      texts: await answerTexts(load("@huggingface/transformers"), request, dtype),
      rows: await answerRows(load("onnxruntime-web"), request, dtype),
    };
  }
  console.log(JSON.stringify(answers));
}

main();
