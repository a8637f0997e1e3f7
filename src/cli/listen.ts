/** Listening, with the reason in one line when it cannot be. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Resolves with the port in use; rejects with one clear sentence. */
export function listenOn(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      if (error.code === 'EADDRINUSE') reject(new Error(`port ${port} on ${host} is in use`))
      else if (error.code === 'EACCES') reject(new Error(`port ${port} on ${host} may not be used by this user`))
      else if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') reject(new Error(`there is no address ${host} on this machine`))
      else reject(new Error(`cannot listen on ${host}:${port} (${error.code})`))
    }
    server.once('error', onError)
    server.listen(port, host, () => {
      server.off('error', onError)
      resolve((server.address() as AddressInfo).port)
    })
  })
}

/** Resolves when no connection is left; idle ones are closed at once. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
  })
}
