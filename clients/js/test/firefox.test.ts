import { shared } from './support/shared.js';
import { suite } from './support/suite.js';

shared('firefox', suite('firefox'));
