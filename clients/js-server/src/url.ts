import type { Name } from './types.js';

/** A name as a segment of a path, or as a value of a query. */
export function segment(name: Name): string {
  // A half of a surrogate pair cannot be encoded, and would throw.
  return encodeURIComponent(String(name).replace(/\p{Surrogate}/gu, '\ufffd'));
}

/** A query of what is given, with its question mark. */
export function query(parameters: Record<string, unknown>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return given.length > 0 ? `?${given.map(([name, value]) => `${name}=${segment(value as Name)}`).join('&')}` : '';
}
