// Proves that the store in memory is a store of jobs.
import t from 'tap';
import { memoryStore } from '../../src/ts/jobs/index.js';
import { conformance } from './conformance.js';

conformance(t, {
  open: async (t, options, port) => {
    const store = memoryStore(options, port);
    t.teardown(() => store.close());
    return store;
  },
  again: undefined,
});
