// @ts-check
/** A failure that is told in one line; anything else that is thrown is a bug and keeps its stack. */
export class SetupError extends Error {}
