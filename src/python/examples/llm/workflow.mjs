// Prefill and decode of a model of Llama's shape as a workflow: the KV cache travels as a tensor. See
// docs/python-examples.md.
//
// Invariant: decode runs as many tasks at a time as its batch has slots: LLM_OPTIONS (JSON) says how many.
import { fileURLToPath } from 'node:url';
import { workflow } from 'onepiece-rdma/pipeline';

const options = process.env.LLM_OPTIONS ?? '{}';
const { slots = 32 } = JSON.parse(options);
const interpreter = process.env.LLM_PYTHON ?? 'python3';
const sources = fileURLToPath(new URL('../..', import.meta.url));
const file = fileURLToPath(new URL('stages.py', import.meta.url));

const stage = (name) => ({
  python: { file, name, interpreter, env: { LLM_OPTIONS: options, PYTHONPATH: sources } },
});

/** A request has `wanted` in its metadata and `ids`, i32 of [tokens], among its parts. */
export const generate = workflow('generate', { module: fileURLToPath(import.meta.url) })
  // 4096 tokens of the 8B shape have 512 MiB of keys and values.
  .stage('prefill', { ...stage('Prefill'), maxOutputBytes: 2 ** 29 })
  .stage('decode', { ...stage('Decode'), after: ['prefill'], concurrency: slots });
