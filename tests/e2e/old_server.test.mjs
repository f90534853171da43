// old_server.test.mjs - the main job with an older LiveKit server.
// testbed: --sfu-version 1.11.0
import { after } from 'node:test';
import { nothingLeft } from './lib/world.mjs';
import { feedbackTests } from './lib/feedback.mjs';
import { shortTests } from './lib/short.mjs';

shortTests('LiveKit 1.11.0');
feedbackTests('LiveKit 1.11.0');
after(nothingLeft);
