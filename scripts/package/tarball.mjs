// The tarball that npm would publish: made of a copy of the checkout, and looked through.
//
// Invariant: the checkout is only read; its lib/ and prebuilds/ are up to date when the copy is made.
import fs from 'node:fs';
import path from 'node:path';
import { CheckError, run } from './commands.mjs';
import { manifest, root } from './manifest.mjs';

/** Top-level names of the checkout that the copy does without. */
const left = /^(node_modules|\.git|build|build-.*|\.tap|.*\.tgz)$/;

/** The checkout without what is installed, and with what is built for its package. */
export function stage(directory) {
  for (const name of fs.readdirSync(root).filter((entry) => !left.test(entry))) {
    fs.cpSync(path.join(root, name), path.join(directory, name), { recursive: true });
  }
}

/** Packs a directory; answers {tarball, files, size}. Without scripts: `prepare` would build once more. */
export function pack(directory, into) {
  const packed = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', into], directory);
  const [{ filename, files, size }] = Object.values(JSON.parse(packed));
  return { tarball: path.join(into, filename), files: files.map((file) => file.path), size };
}

/** The names in the tarball against what has to be, and what must not be, there. */
export function checkContent(files, prebuild) {
  const has = new Set(files);
  const native = fs
    .readdirSync(path.join(root, 'src/native'), { recursive: true })
    .filter((name) => /\.(cc|h|txt)$/.test(name))
    .map((name) => `src/native/${name}`);
  const exported = Object.values(manifest.exports).flatMap((target) =>
    typeof target === 'string' ? [target] : Object.values(target).flatMap((condition) => Object.values(condition)),
  );
  const wanted = [
    'LICENSE',
    'README.md',
    'package.json',
    'scripts/build-native.mjs',
    'scripts/native-inputs.mjs',
    'src/python/bench/gpu_stages.py',
    'src/python/bench/stages.py',
    ...fs.readdirSync(path.join(root, 'profiles')).map((name) => `profiles/${name}`),
    ...['__init__.py', 'worker.py', 'py.typed'].map((name) => `src/python/onepiece_stage/${name}`),
    'src/python/pyproject.toml',
    'src/python/examples/image_to_video/stages.py',
    ...['worker-start.js', 'worker-bundle.js', 'worker-bundle.js.map'].map((name) => `lib/cluster/${name}`),
    ...['report.js', 'report.css', 'uPlot.iife.min.js', 'uPlot.min.css', 'uPlot.LICENSE'].map(
      (name) => `lib/bench/page/${name}`,
    ),
    ...prebuild,
    ...native,
    ...Object.values(manifest.bin),
    ...exported.map((target) => target.replace(/^\.\//, '')),
  ];
  const missing = wanted.filter((name) => !has.has(name));
  // Not binding.gyp: npm would run node-gyp for it, whatever package.json says, when it installs from a lockfile.
  const welcome =
    /^(lib|docs|src\/native|src\/python|prebuilds|profiles)\/|^(LICENSE|README\.md|package\.json|scripts\/(build-native|native-inputs)\.mjs)$/;
  const strange = files.filter(
    (name) =>
      !welcome.test(name) ||
      /(^|\/)(tests?|node_modules|obj|__pycache__)\/|\.(o|pyc|tsbuildinfo|tmp)$|(^|[^d])\.ts$/.test(
        name.replace(/\.d\.m?ts$/, ''),
      ),
  );
  if (missing.length > 0) throw new CheckError(`not in the tarball: ${missing.join(', ')}`);
  if (strange.length > 0) throw new CheckError(`does not belong in the tarball: ${strange.join(', ')}`);
}
