import { clientVenv, pythonVenv } from './python-venv.js';

// Makes what specs would otherwise wait for; whatever fails here, they say.
await pythonVenv();
await clientVenv();
