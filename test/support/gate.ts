/** A promise and what opens it. */
export function makeGate(): { gate: Promise<void>; open: () => void } {
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => (open = resolve))
  return { gate, open }
}
