import { shared } from './support/shared.js';
import { suite } from './support/suite.js';

shared('chromium', suite('chromium'));
