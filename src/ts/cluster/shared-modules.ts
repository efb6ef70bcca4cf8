// The modules that a worker process has from its bundle, for code that requires them by their files.
//
// Invariant: a process has each module of this package once. The workflow's module imports `onepiece-rdma` and gets the
// same classes that the worker runs with, although the worker has them from one file and the package has many.
import { Module } from 'node:module';

/**
 * Enters modules into `require.cache`, so that no file of theirs is read any more, by `require` or by `import`.
 *
 * @param folder where the files are: absolute and normal, without a slash at its end
 * @param modules what each file exports, by its path below `folder`; each gets the mark of a translated ES module
 * @see the documentation of Node.js, "require.cache"
 */
export function shareModules(folder: string, modules: Readonly<Record<string, object>>): void {
  for (const [name, exports] of Object.entries(modules)) {
    // As the compiler marks a module; without it `import x from` would mean something else than for the file itself.
    Object.defineProperty(exports, '__esModule', { value: true });
    const file = `${folder}/${name}`;
    const module = new Module(file);
    module.filename = file;
    module.loaded = true;
    module.exports = exports;
    require.cache[file] = module;
  }
}
