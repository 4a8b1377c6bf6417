// One copy of the code for both kinds of modules: an error made in one is an instance of the other's class.
export * from './next.js';
