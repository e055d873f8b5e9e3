import { X509Certificate, createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { messageOf } from '#libs/common';
import type { ServerConfiguration } from './configuration.js';
import { invalid } from './setting.js';

type CertificateSettings = Pick<
  ServerConfiguration,
  'certificateFile' | 'privateKeyFile' | 'keystore' | 'keystorePass' | 'keystoreType' | 'directory'
>;

/** A chain of certificates and its private key, both PEM. */
export interface PemPair {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
}

/** With what the files of Java's own formats, JKS and JCEKS, begin. */
const JAVA_FORMATS: readonly number[] = [0xfe_ed_fe_ed, 0xce_ce_ce_ce];

/**
 * What listeners speak TLS with: the key store where there is one, else the two PEM files, as in TorchServe.
 * @param key the setting that asks for TLS, for messages
 * @throws MarlineError `OPTIONS_INVALID` for what is missing, cannot be read or does not belong together
 */
export function readCredentials(settings: CertificateSettings, key: string): SecureContextOptions {
  if (settings.keystore !== '') return readKeystore(settings);
  if (settings.certificateFile === '' && settings.privateKeyFile === '')
    throw invalid(
      `${key} needs a certificate: name certificate_file and private_key_file (PEM), or keystore (PKCS12). One to try it out makes: openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout key.pem -out certificate.pem`,
    );
  const { certificate, privateKey } = readPemPair(settings, key);
  return { cert: certificate, key: privateKey };
}

/**
 * The two PEM files.
 * @param key the setting that asks for them, for messages
 * @throws MarlineError as {@link readCredentials} does
 */
export function readPemPair(settings: CertificateSettings, key: string): PemPair {
  const { certificateFile, privateKeyFile, directory } = settings;
  const read = (name: string, file: string) => {
    if (file === '')
      throw invalid(`${name} is missing: ${key} needs certificate_file and private_key_file, both PEM.`);
    return readSetting(name, file, directory);
  };
  const certificate = read('certificate_file', certificateFile);
  const privateKey = read('private_key_file', privateKeyFile);
  const secret = parsePrivateKey(privateKey, privateKeyFile);
  if (!parseCertificate(certificate, certificateFile).checkPrivateKey(secret))
    throw invalid(
      `private_key_file=${privateKeyFile} is not the key of certificate_file=${certificateFile}: its first certificate has another public key. Name the two files that were made together, with the server's own certificate first.`,
    );
  try {
    createSecureContext({ cert: certificate, key: privateKey });
  } catch (cause) {
    throw invalid(
      `certificate_file=${certificateFile} and private_key_file=${privateKeyFile} cannot be used: ${messageOf(cause)}. Make them anew.`,
      cause,
    );
  }
  return { certificate, privateKey };
}

function parseCertificate(pem: Buffer, file: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw invalid(
      `certificate_file=${file} is no PEM certificate (${messageOf(cause)}). It begins with -----BEGIN CERTIFICATE-----; a DER file is converted by: openssl x509 -inform der -in ${file} -out certificate.pem`,
      cause,
    );
  }
}

function parsePrivateKey(pem: Buffer, file: string): KeyObject {
  if (pem.includes('ENCRYPTED'))
    throw invalid(
      `private_key_file=${file} is encrypted, and there is no setting for its password. Decrypt it: openssl pkey -in ${file} -out key.pem`,
    );
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw invalid(
      `private_key_file=${file} is no PEM private key (${messageOf(cause)}). It begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----.`,
      cause,
    );
  }
}

function readKeystore(settings: CertificateSettings): SecureContextOptions {
  const { keystore: file, keystorePass: passphrase, keystoreType: type, directory } = settings;
  const pkcs12 = `keytool -importkeystore -srckeystore ${file} -destkeystore keystore.p12 -deststoretype PKCS12`;
  if (!/^(pkcs12|jks)$/i.test(type))
    throw invalid(`keystore_type=${type} cannot be read, only PKCS12. Convert the key store: ${pkcs12}`);
  const pfx = readSetting('keystore', file, directory);
  // Java reads either format under the name of the other; so the content decides.
  if (pfx.length >= 4 && JAVA_FORMATS.includes(pfx.readUInt32BE(0)))
    throw invalid(
      `keystore=${file} is in Java's own format (JKS), which only Java reads. Convert it, and set keystore_type=PKCS12: ${pkcs12}`,
    );
  try {
    createSecureContext({ pfx, passphrase });
  } catch (cause) {
    throw invalid(`keystore=${file} cannot be used: ${explain(messageOf(cause), file)}`, cause);
  }
  return { pfx, passphrase };
}

function explain(message: string, file: string): string {
  if (message.includes('mac verify failure')) return 'keystore_pass is not its password.';
  if (message.includes('Unsupported'))
    return `it is encrypted with an old algorithm. Write it anew: openssl pkcs12 -legacy -in ${file} -nodes -out both.pem && openssl pkcs12 -export -in both.pem -out keystore.p12`;
  return `${message}. It must be a PKCS12 file with a private key and its certificate.`;
}

function readSetting(name: string, file: string, directory: string): Buffer {
  try {
    return readFileSync(resolve(directory, file));
  } catch (cause) {
    throw invalid(`${name}=${file} cannot be read (${messageOf(cause)}).`, cause);
  }
}
