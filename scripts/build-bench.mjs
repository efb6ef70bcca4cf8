// Compiles bench/, which is no part of the package, so that it uses the library in lib/.
//
// Invariant: each module that bench/ imports from src/ts is lib's own, the same one that the command has loaded.
import { createRequire } from 'node:module';
import path from 'node:path';

/** Where the compiled modules are. */
export const benchFolder = 'build-bench';

const inside = (folder, file) => file.startsWith(`${folder}${path.sep}`);

/** Leaves every import as it is, but for those of src/ts: from where the output lies these are in lib/. */
function imports(root) {
  const library = path.join(root, 'src/ts');
  return {
    name: 'imports',
    setup(build) {
      build.onResolve({ filter: /.*/ }, ({ kind, path: name, resolveDir }) => {
        if (kind === 'entry-point') return undefined;
        const target = path.join(resolveDir, name);
        if (!name.startsWith('.') || !inside(library, target)) return { path: name, external: true };
        const from = path.join(root, benchFolder, path.relative(path.join(root, 'bench'), resolveDir));
        const to = path.join(root, 'lib', path.relative(library, target));
        return { path: path.relative(from, to), external: true };
      });
    },
  };
}

/**
 * Compiles the modules of bench/.
 *
 * @param root the folder of the checkout
 * @param names below bench/, without suffix
 * @returns [name, text] of each file, below {@link benchFolder}
 */
export async function compileBench(root, names) {
  if (names.length === 0) return [];
  const esbuild = createRequire(path.join(root, 'package.json'))('esbuild');
  const outDir = path.join(root, benchFolder);
  const { outputFiles } = await esbuild.build({
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'silent',
    absWorkingDir: root,
    entryPoints: names.map((name) => path.join('bench', `${name}.ts`)),
    outbase: 'bench',
    outdir: outDir,
    sourcemap: 'linked',
    plugins: [imports(root)],
    write: false,
  });
  return outputFiles.map((file) => [path.relative(outDir, file.path), file.text]);
}
