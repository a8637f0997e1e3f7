/** The few flags of `npm start`. */
export interface Flags {
  readonly port: number
  readonly load: boolean
  readonly help: boolean
}

export const USAGE = `usage: npm start -- [--port N] [--no-load] [--help]
  --port N    listen on this port (default 8787; 0 picks a free one)
  --no-load   serve only, without the demo load`

/** Throws an Error with one clear line for a flag that is wrong. */
export function parseFlags(args: readonly string[]): Flags {
  let port = 8787
  let load = true
  let help = false
  for (let i = 0; i < args.length; i++) {
    const [name, inline] = (args[i] as string).split('=', 2)
    if (name === '--port') {
      const text = inline ?? args[++i]
      port = Number(text)
      if (text === undefined || text === '' || !Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port: expected a whole number in 0..65535, got ${text ?? 'nothing'}`)
    } else if (name === '--no-load' && inline === undefined) load = false
    else if (name === '--help' || name === '-h') help = true
    else throw new Error(`unknown flag ${args[i]}; try --help`)
  }
  return { port, load, help }
}
