// SPDX-License-Identifier: ISC
//
// certificate.h - a self-signed certificate for names, as files: its own trust anchor.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define CERTIFICATE_PATH_MAX 64

static void certificate_extend(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

static FILE *certificate_file(char path[static CERTIFICATE_PATH_MAX])
{
	strcpy(path, "/tmp/relay_certificate_XXXXXX");
	return fdopen(mkstemp(path), "w");
}

// names as OpenSSL writes them: "DNS:localhost,IP:127.0.0.1". The caller unlinks both files.
static void certificate_make(const char *names, char cert_path[static CERTIFICATE_PATH_MAX],
	char key_path[static CERTIFICATE_PATH_MAX])
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	X509_NAME *name = X509_get_subject_name(certificate);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	certificate_extend(certificate, NID_basic_constraints, "CA:TRUE");
	certificate_extend(certificate, NID_subject_alt_name, names);
	X509_sign(certificate, key, EVP_sha256());
	FILE *file = certificate_file(cert_path);
	PEM_write_X509(file, certificate);
	fclose(file);
	file = certificate_file(key_path);
	PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
	fclose(file);
	X509_free(certificate);
	EVP_PKEY_free(key);
}
