/** Ids of messages begin alike; clients of this protocol may look at it. */
export const messageId = (id: string): string => (id.startsWith('msg_') ? id : `msg_${id}`)
