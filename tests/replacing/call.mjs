// Calls a function of the page's code for Node: its name, then its arguments as JSON. Prints the answer as JSON.
import * as push from "./push.mjs";

const [name, ...given] = process.argv.slice(2);
console.log(JSON.stringify(await push[name](...given.map((text) => JSON.parse(text)))));
