// What a native build reads: the lists of sources and flags, the headers, and where the headers of Node-API are.
//
// Invariant: nothing but Node.js and the package's own dependencies is needed, so it works in an installed package too.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(path.join(root, 'package.json'));

/** What is wrong with the machine or the call, in words for people. */
export class BuildError extends Error {}

/** A hash of the parts, in this order. */
export function hash(...parts) {
  const digest = createHash('sha256');
  for (const part of parts) digest.update(`${Buffer.byteLength(part)}:`).update(part);
  return digest.digest('hex');
}

export const readFile = (name) => fs.readFileSync(path.resolve(root, name));

/** The sources, one path a line, relative to the root. */
export function readSources() {
  return readFile('src/native/sources.txt')
    .toString()
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** The flags of one kind, in order: see src/native/flags.txt. */
export function readFlags(kind) {
  return readFile('src/native/flags.txt')
    .toString()
    .split('\n')
    .filter((line) => line.startsWith(`${kind} `))
    .map((line) => line.slice(kind.length + 1).trim());
}

/** The package's own headers, relative to the root. */
export function readHeaders() {
  return fs
    .readdirSync(path.join(root, 'src/native'), { recursive: true })
    .filter((name) => name.endsWith('.h'))
    .map((name) => path.join('src/native', name))
    .sort();
}

/** Tells whether two addons were made of the same sources and headers, with the same flags. */
export function sourcesHash() {
  return hash(
    ...['src/native/flags.txt', ...readSources(), ...readHeaders()].flatMap((name) => [name, readFile(name)]),
  );
}

/** The folder of prebuilt addons for this machine, relative to the root: as node-gyp-build looks for it. */
export const prebuildFolder = `prebuilds/${process.platform}-${process.arch}`;

/** What a folder of prebuilt addons says about itself: the hash of the sources that they were made of. */
export const prebuildStamp = `${prebuildFolder}/sources.sha256`;

/** Where node_api.h is: the node-api-headers package, else the headers installed beside this node. */
export function nodeApiInclude() {
  try {
    return path.resolve(require('node-api-headers').include_dir);
  } catch {
    const places = [path.resolve(process.execPath, '../../include/node')];
    if (process.env.npm_config_nodedir) places.unshift(path.join(process.env.npm_config_nodedir, 'include/node'));
    const found = places.find((place) => fs.existsSync(path.join(place, 'node_api.h')));
    if (found) return found;
    throw new BuildError('The package node-api-headers is not installed: run `npm ci` (or `npm install`) first.');
  }
}

/** Where napi.h is. */
export function addonApiInclude() {
  try {
    // It answers relative to the current directory, which may be any.
    return path.resolve(require('node-addon-api').include_dir);
  } catch {
    throw new BuildError('The package node-addon-api is not installed: run `npm ci` (or `npm install`) first.');
  }
}
