/** Waits for something to be so, and says what was not when it takes too long. */
export async function until<T>(what: string, so: () => T | Promise<T>, within = 5_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + within;
  for (;;) {
    const is = await so();
    if (is) return is as NonNullable<T>;
    if (performance.now() > deadline) throw new Error(`not within ${within} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
