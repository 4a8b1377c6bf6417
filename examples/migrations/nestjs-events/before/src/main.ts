import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { AppModule } from './app.module.js';

const app = await NestFactory.create<NestExpressApplication>(AppModule, { logger: ['warn', 'error'] });
app.useStaticAssets('public');
app.enableShutdownHooks();
await app.listen(process.env.PORT ?? 3000, '127.0.0.1');
