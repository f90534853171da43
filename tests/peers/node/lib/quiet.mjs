// quiet.mjs - LiveKit's SDK logs at debug level unless it thinks that it is in production; imported before it.
process.env.NODE_ENV ??= 'production';
