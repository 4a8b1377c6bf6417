export { subscribe } from './subscribe.js';
export type * from './types.js';
