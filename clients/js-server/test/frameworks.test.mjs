// The module for NestJS in a real application, and the route for Next.js with the requests that it gets.
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Publisher } from '@sidestream/server';
import { SidestreamModule } from '@sidestream/server/nestjs';
import { webhookRoute } from '@sidestream/server/next';
import { json, receipts, scripted } from './harness.mjs';

test('a NestJS application has the publisher injected, and closes it at shutdown', async (t) => {
  const { url, requests } = await scripted(t, ({ body }, response) => {
    setTimeout(() => json(response, 200, receipts(body)), 100);
  });
  class Notifications {
    constructor(push) {
      this.push = push;
    }
  }
  Injectable()(Notifications);
  Inject(Publisher)(Notifications, undefined, 0);
  class Feature {}
  Module({ providers: [Notifications] })(Feature);
  class Settings {
    url = url;
  }
  class SettingsModule {}
  Module({ providers: [Settings], exports: [Settings] })(SettingsModule);
  class App {}
  const sidestream = SidestreamModule.forRootAsync({
    imports: [SettingsModule],
    inject: [Settings],
    useFactory: (settings) => ({ url: settings.url, key: 'k' }),
  });
  Module({ imports: [sidestream, Feature] })(App);
  const app = await NestFactory.createApplicationContext(App, { logger: ['error'], abortOnError: false });
  const { push } = app.get(Notifications);
  assert.ok(push instanceof Publisher);
  push.sendToUser('u', 'n', 1);
  await app.close();
  assert.equal(requests.length, 1);
  assert.equal(push.counters().done, 1);
  assert.equal((await push.sendToUser('u', 'n', 2)).error.kind, 'closed');
});

test('a NestJS application needs nothing but forRoot', async () => {
  class App {}
  Module({ imports: [SidestreamModule.forRoot({ key: 'k' })] })(App);
  const app = await NestFactory.createApplicationContext(App, { logger: ['error'], abortOnError: false });
  assert.ok(app.get(Publisher) instanceof Publisher);
  await app.close();
});

test('the route for webhooks takes what is signed and nothing else', async () => {
  const came = [];
  const POST = webhookRoute('secret', (delivery) => void came.push(delivery.id));
  const body = JSON.stringify({ id: 'd1', events: [] });
  const time = Math.floor(Date.now() / 1000);
  const signature = createHmac('sha256', 'secret').update(`${time}.${body}`).digest('hex');
  const request = (header) => new Request('http://app/hooks', {
    method: 'POST', body, headers: { 'sidestream-signature': `t=${time},v1=${header}` } });
  assert.equal((await POST(request(signature))).status, 204);
  assert.equal((await POST(request(signature.replace(/./, 'x')))).status, 403);
  assert.equal((await webhookRoute(undefined, () => {})(request(signature))).status, 403);
  assert.deepEqual(came, ['d1']);
});
