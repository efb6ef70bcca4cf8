// Makes prebuilds/PLATFORM-ARCH/onepiece-rdma.LIBC.node: the built addon without its symbol table, which a package
// ships.
//
// Invariant: it is the addon of build/Release, brought up to date first. It lies beside a hash of the sources that it
// was made of, so it is never taken for an addon of other sources. Each file is replaced by one rename.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { hash, prebuildFolder, prebuildStamp, readFile, root, sourcesHash } from './native-inputs.mjs';

const addon = 'build/Release/onepiece.node';
// node-gyp-build takes a file with this tag only where the C library is that one.
const libc = process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
const target = `${prebuildFolder}/onepiece-rdma.${libc}.node`;

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status === 0) return;
  console.error(`prebuild: ${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
  process.exit(1);
}

/** Writes a file by a rename; `fill` makes its content at the path that it is given. */
function replace(name, fill) {
  const scratch = path.join(root, `${name}.${process.pid}.tmp`);
  try {
    fill(scratch);
    fs.renameSync(scratch, path.join(root, name));
  } finally {
    fs.rmSync(scratch, { force: true });
  }
}

run(process.execPath, [path.join(root, 'scripts/build-native.mjs')]);
if (!fs.existsSync(path.join(root, addon))) {
  // There is no compiler, and build-native.mjs found that this prebuilt addon is of these sources and loads.
  console.log(`prebuild: ${target} stays as it is`);
} else {
  fs.mkdirSync(path.join(root, prebuildFolder), { recursive: true });
  replace(target, (scratch) => run('strip', ['-o', scratch, addon]));
  replace(prebuildStamp, (scratch) => fs.writeFileSync(scratch, `${sourcesHash()}\n`));
  const kib = (fs.statSync(path.join(root, target)).size / 1024).toFixed(0);
  console.log(`prebuild: ${target} (${kib} KiB, ${hash(readFile(target)).slice(0, 12)})`);
}
