// Puts another method in the place of one, for as long as a test wants to see a defect.

type Method = (this: never, ...args: never[]) => unknown;

/** Puts another method in the place of one; answers how to take that back. */
export function plant(owner: object, name: string, make: (original: Method) => unknown): () => void {
  const methods = owner as Record<string, unknown>;
  const original = methods[name];
  if (typeof original !== 'function') throw new Error(`${name} is no method: the defect must be planted elsewhere`);
  methods[name] = make(original as Method);
  return () => {
    methods[name] = original;
  };
}
