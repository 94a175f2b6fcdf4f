/* SPDX-License-Identifier: MIT
 *
 * AES-GCM by Intel's ipsec-mb for our TLS contexts. OpenSSL before 3.1 has no
 * code for VAES and AVX-512, with which AES-GCM runs about four times as fast.
 */
#pragma once

/* The property query for SSL_CTX_new_ex: it prefers the provider "hyco-gcm",
 * which the first call loads. NULL, and OpenSSL's own code is used, where the
 * build has no ipsec-mb, the processor lacks the instructions, OpenSSL is new
 * enough, runs in FIPS mode or without its default provider, or the environment
 * has HYCO_NO_IPSEC_MB=1. Any thread may call. */
const char *tls_gcm_properties(void);
