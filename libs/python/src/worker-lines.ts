/** What TorchServe's worker says at every start, for every batch and at every end: nobody has to read it. */
const ROUTINE =
  /^(\[PID\]\d|s_name_part0=|Listening on |Successfully loaded |Python runtime: |Connection accepted: |model_name: .*, batchSize: |Backend received inference at: |Frontend disconnected\.|handle_connection_async$|skip sending response at rank \d|self\._entry_point=)/;
const READY = 'Torch worker started.';

/** True for a line that every worker prints. */
export function isRoutine(line: string): boolean {
  return isReadyLine(line) || ROUTINE.test(line);
}

/** True for the line by which a worker says that it listens. */
export function isReadyLine(line: string): boolean {
  return line.endsWith(READY);
}
