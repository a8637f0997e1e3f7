/** An upstream that behaves as told, well or badly, down to its socket. */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createNetServer, type AddressInfo, type Server, type Socket } from 'node:net'

export interface Received {
  readonly method: string
  readonly path: string
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
}

export interface Upstream {
  readonly url: string
  readonly received: Received[]
  /** Sockets open now. */
  readonly open: ReadonlySet<Socket>
  close(): Promise<void>
}

async function started(server: Server, received: Received[]): Promise<Upstream> {
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    open,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}

/** Answers by `answer` once the request's body is there. */
export function httpUpstream(answer: (request: Received, res: ServerResponse) => void): Promise<Upstream> {
  const received: Received[] = []
  const server = createHttpServer((req: IncomingMessage, res: ServerResponse) => {
    const pieces: Buffer[] = []
    req.on('data', (piece: Buffer) => pieces.push(piece))
    req.on('end', () => {
      const request = { method: req.method ?? '', path: req.url ?? '', rawHeaders: req.rawHeaders, body: Buffer.concat(pieces) }
      received.push(request)
      answer(request, res)
    })
  })
  return started(server as unknown as Server, received)
}

/** A reply in these pieces, one turn of the event loop apart: they leave as separate writes. */
export function sendPieces(res: ServerResponse, pieces: readonly Uint8Array[], contentType: string, status = 200): void {
  res.writeHead(status, { 'content-type': contentType })
  res.flushHeaders()
  let at = 0
  const next = (): void => {
    if (at === pieces.length) return void res.end()
    res.write(pieces[at++])
    setImmediate(next)
  }
  next()
}

/** The same bytes again and again, as fast as the reader takes them; tells how many have been given to the socket so far. */
export function withoutEnd(socket: Socket, block: string): () => number {
  let sent = 0
  const more = (): void => {
    while (!socket.destroyed) {
      sent += block.length
      if (!socket.write(block)) return
    }
  }
  socket.on('drain', more)
  more()
  return () => sent
}

/** Writes raw bytes: for what no HTTP server would send. `onRequest` runs at the first bytes of each connection. */
export function rawUpstream(onRequest: (socket: Socket, bytes: Buffer) => void): Promise<Upstream> {
  return started(createNetServer((socket) => socket.once('data', (bytes) => onRequest(socket, bytes))), [])
}
