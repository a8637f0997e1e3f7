/** The admin API as an OpenAPI 3.1 document, derived from its endpoints. */
import { z, type ZodType } from 'zod'
import { ADMIN_ENDPOINTS, type AdminEndpoint } from './admin-endpoints.ts'

interface JsonSchema {
  properties?: Record<string, object>
  required?: string[]
}

export function adminOpenApi(): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const endpoint of ADMIN_ENDPOINTS) (paths[`/admin${endpoint.path}`] ??= {})[endpoint.method.toLowerCase()] = operation(endpoint)
  return {
    openapi: '3.1.0',
    info: { title: 'flyball admin API', version: '1', description: 'For operators. Reachable from this machine only, unless an authorisation hook says otherwise.' },
    paths,
    components: {
      schemas: {
        Error: { type: 'object', required: ['error'], properties: { error: { type: 'object', required: ['code', 'message'], properties: { code: { type: 'string' }, message: { type: 'string' }, param: { type: 'string' } } } } },
      },
    },
  }
}

function operation(endpoint: AdminEndpoint): unknown {
  const parameters = [...parametersOf('path', endpoint.params), ...parametersOf('query', endpoint.query)]
  const error = (description: string): unknown => ({ description, content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } })
  return {
    summary: endpoint.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(endpoint.body ? { requestBody: { content: { 'application/json': { schema: schemaOf(endpoint.body) } } } } : {}),
    responses: {
      200: { description: endpoint.returns, content: { 'application/json': { schema: {} } } },
      400: error('A parameter or the body is not valid.'),
      403: error('Not allowed from here.'),
      404: error('There is no such thing.'),
    },
  }
}

function parametersOf(place: 'path' | 'query', schema: ZodType | undefined): unknown[] {
  if (!schema) return []
  const { properties = {}, required = [] } = schemaOf(schema) as JsonSchema
  return Object.entries(properties).map(([name, property]) => ({ name, in: place, required: place === 'path' || required.includes(name), schema: property }))
}

function schemaOf(schema: ZodType): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' })
  return rest
}
