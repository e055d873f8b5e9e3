import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly privateKey: string;
}

/** Runs openssl, which has to be there. */
export function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' });
}

/** Makes a certificate of localhost, signed by itself, and its RSA key. */
export function makeCertificate(folder: string, name = 'server'): CertificateFiles {
  const files = {
    certificate: join(folder, `${name}-certificate.pem`),
    privateKey: join(folder, `${name}-key.pem`),
  };
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const out = ['-keyout', files.privateKey, '-out', files.certificate];
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', ...subject, ...out);
  return files;
}
