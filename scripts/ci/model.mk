# model.mk: the same by make, on top of release.mk. See README.md beside this file.
#
#     make -j2 -f model.mk gate        convert, quantise, every gate, sign, check; goes on where it was stopped
#     make -f model.mk speed           this build and this model against the last ones, and against the machine
#
# Each variable may be given on the command line or in the environment.

MODEL ?= k2
GOLDEN ?= eval/golden
LAST ?= /srv/models/last.i4.kmf
LAST_BIN ?= /opt/ktools-last/bin
PPL ?= 7.5
ACC ?= 0.8
LIMIT_FRAC ?= 0.6
REPS ?= 15

K_TEXT ?= eval/wiki.test.txt
K_CHOICE ?= eval/mmlu.jsonl
K_TOOLCALL ?= eval/toolcalls.jsonl
K_KEY ?= release.pem
K_PUB ?= release.pub.pem
K_QUANT_FLAGS = --preset k2-thinking --ledger $*.ledger.jsonl
K_LOSS_BARS = experts.rel_rms>0.3
K_PPL_BARS = ppl<$(PPL)
K_KLD_BARS = kld_mean<0.02 top1_agree>=0.9
K_CHOICE_BARS = acc>=$(ACC)
K_TOOLCALL_BARS = trigger_f1>=0.73 schema_accuracy>=0.98

.PHONY: gate speed
gate: $(MODEL).i4.kmf.checked

include $(dir $(lastword $(MAKEFILE_LIST)))../release.mk

# The conversion is held against what a model that is right computes; quantised, it is held against its source, by kld.
$(MODEL).i4.kmf.sig: $(MODEL).parity.jsonl
$(MODEL).parity.jsonl: K_PARITY = $(GOLDEN)

decode = kbench decode --reps 1 -m
speed: $(MODEL).i4.kmf
	kbench compare --reps $(REPS) --junit build.xml -- $(LAST_BIN)/$(decode) $(LAST) -- $(decode) $(LAST)
	kbench compare --reps $(REPS) --ignore-output --junit model.xml -- $(decode) $(LAST) -- $(decode) $<
	kbench decode -m $< --bar 'limit_frac>=$(LIMIT_FRAC)' --junit decode.xml
