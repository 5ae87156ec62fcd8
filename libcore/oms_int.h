/* oms_int.h: private to oms*.c: the statement inside the envelope. */
#ifndef K_OMS_INT_H
#define K_OMS_INT_H

#include "libcore/json.h"
#include "libcore/oms.h"

#define OMS_PREDICATE "https://model_signing/signature/v1.0"
#define OMS_PREDICATE_OLD "https://model_signing/Digests/v0.1"

int oms_statement_put(const struct k_oms *o, struct k_buf *b, struct k_err *err) K_MUST_USE;
/* Fills o. The text is signed, so what it says is the signer's; its form is checked all the same. */
int oms_statement_get(struct k_oms *o, const struct k_json *statement, const char *what, struct k_err *err) K_MUST_USE;

#endif
