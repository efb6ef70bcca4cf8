// Whether a peer program is there. Not a test.

/** @returns why the tests of a peer are skipped, or false; where CI is set it has to be there */
export function lacking(check: () => unknown): string | false {
  try {
    check();
    return false;
  } catch (error) {
    if (process.env.CI) throw error;
    return (error as Error).message;
  }
}
