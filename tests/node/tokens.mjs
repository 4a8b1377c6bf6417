// Makes tokens with npm `jsonwebtoken` or `jose`, whichever the argument names. Each line of stdin asks for one:
// {"alg": …, "key": a secret or a private key as PEM, "kid": …, "claims": {…}}; each line of stdout is one.
import { createInterface } from 'node:readline';
import { createPrivateKey } from 'node:crypto';
import jsonwebtoken from 'jsonwebtoken';
import { SignJWT } from 'jose';

const makers = {
  jsonwebtoken: ({ alg, key, kid, claims }) => jsonwebtoken.sign(claims, key, { algorithm: alg, keyid: kid }),
  jose: ({ alg, key, kid, claims }) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg, kid })
      .sign(alg.startsWith('HS') ? new TextEncoder().encode(key) : createPrivateKey(key)),
};
const make = makers[process.argv[2]];

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await make(JSON.parse(line)))}\n`);
}
