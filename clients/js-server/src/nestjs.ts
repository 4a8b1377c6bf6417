// A NestJS module without a dependency on NestJS: a dynamic module is a plain object.
import { Publisher, type PublisherOptions } from './publisher.js';

/** The part of Nest's `DynamicModule` that is used here. */
interface DynamicModule {
  module: typeof SidestreamModule;
  global: boolean;
  imports: any[];
  providers: any[];
  exports: any[];
}

export interface SidestreamAsyncOptions {
  imports?: any[];
  inject?: any[];
  useFactory: (...injected: any[]) => PublisherOptions | Promise<PublisherOptions>;
}

export interface SidestreamModuleOptions extends PublisherOptions {
  /** How long the application's shutdown waits for what is queued. Default 5,000 ms. */
  closeDeadline?: number;
}

/**
 * Provides a `Publisher` to the whole application, and closes it at shutdown (`app.enableShutdownHooks()` for signals):
 *
 *     @Module({ imports: [SidestreamModule.forRoot({ url: 'http://127.0.0.1:8081' })] })
 *     class AppModule {}
 */
export class SidestreamModule {
  static forRoot(options: SidestreamModuleOptions = {}): DynamicModule {
    return SidestreamModule.forRootAsync({ useFactory: () => options });
  }

  static forRootAsync(options: SidestreamAsyncOptions): DynamicModule {
    const useFactory = async (...injected: unknown[]) => closing(await options.useFactory(...injected));
    return {
      module: SidestreamModule,
      global: true,
      imports: options.imports ?? [],
      providers: [{ provide: Publisher, inject: options.inject ?? [], useFactory }],
      exports: [Publisher],
    };
  }
}

/** Nest calls the hooks of whatever a factory has made. */
function closing(options: SidestreamModuleOptions): Publisher {
  const publisher = new Publisher(options);
  const onApplicationShutdown = () => publisher.close(options.closeDeadline);
  return Object.assign(publisher, { onApplicationShutdown });
}
