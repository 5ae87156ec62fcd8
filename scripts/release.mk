# release.mk: a release as make sees it. Include it from a makefile of yours:
#
#     K_KEY = release.pem
#     K_TEXT = wiki.test.txt
#     K_PPL_BARS = ppl<7.5
#     include /usr/local/share/ktools/release.mk
#
# and `make k2.i4.kmf.sig` converts the folder k2/, quantises, evaluates against the bars and signs.
#
#     X.kmf         from the folder X/                   K_CONVERT_FLAGS
#     X.i4.kmf      from X.kmf                           K_QUANT_FLAGS, K_LOSS_BARS (of --fail-if: experts.rel_rms>0.1)
#     X.gguf        from X.kmf                           K_GGUF_FLAGS
#     X.ppl.jsonl   report on X.kmf                      K_TEXT, K_PPL_FLAGS, K_PPL_BARS (of --bar: ppl<25); no blanks in a bar
#     X.manifest    digests of X, for sha256sum -c
#     X.kmf.sig, X.gguf.sig                              K_KEY (a private key in PEM), K_SIGN_FLAGS; only when the bars hold
#
# Set the variables before the include, or on make's command line. A missed bar stops make: the report is kept as
# X.ppl.jsonl.missed, and no signature is left. Whoever changes a variable gets what depends on it made again (what they were is kept
# in .release-*). Every recipe writes beside its target and renames, so a killed make leaves no half target, and -j is safe. Flags may
# use $@ and $*: K_QUANT_FLAGS = --preset k2-thinking --ledger $*.ledger.jsonl; with K_CONVERT_FLAGS = --resume a killed conversion
# goes on where it was. There is no rule for %.kld.jsonl yet: keval has no kld.

K_CONVERT_FLAGS ?=
K_QUANT_FLAGS ?= -t i4g32
K_GGUF_FLAGS ?=
K_PPL_FLAGS ?=
K_SIGN_FLAGS ?=
K_LOSS_BARS ?=
K_PPL_BARS ?=
K_TEXT ?=
K_KEY ?=

.PRECIOUS: %.kmf %.gguf %.ppl.jsonl %.manifest %.sig

# What a step is asked for stands in a file that is written only when it is another one.
release_convert = $(value K_CONVERT_FLAGS)
release_quant = $(value K_QUANT_FLAGS) $(value K_LOSS_BARS)
release_gguf = $(value K_GGUF_FLAGS)
release_ppl = $(value K_TEXT) $(value K_PPL_FLAGS) $(value K_PPL_BARS)
release_sign = $(value K_KEY) $(value K_SIGN_FLAGS)
release_is = $(and $(findstring <$(1)>,<$(2)>),$(findstring <$(2)>,<$(1)>))
$(foreach s,convert quant gguf ppl sign,$(if $(wildcard .release-$(s)),$(if \
	$(call release_is,$(file <.release-$(s)),$(release_$(s))),,$(file >.release-$(s),$(release_$(s)))),$(file >.release-$(s),$(release_$(s)))))

release_each = $(foreach b,$(2),$(1) '$(b)')

%.kmf: %/ .release-convert
	@rm -f $@.sig
	kconvert $(K_CONVERT_FLAGS) $< -o $@

%.i4.kmf: %.kmf .release-quant
	@rm -f $@.sig
	kquant $(K_QUANT_FLAGS) $(call release_each,--fail-if,$(K_LOSS_BARS)) $< -o $@

%.gguf: %.kmf .release-gguf
	@rm -f $@.sig
	kconvert --to gguf $(K_GGUF_FLAGS) $< -o $@

%.ppl.jsonl: %.kmf .release-ppl
	@test -n '$(K_TEXT)' || { echo 'release.mk: K_TEXT names the text that $< is evaluated on' >&2; exit 2; }
	@rm -f $@ $@.missed $*.kmf.sig $*.gguf.sig
	keval ppl -m $< -f $(K_TEXT) $(K_PPL_FLAGS) $(call release_each,--bar,$(K_PPL_BARS)) --report $@.missed > /dev/null
	@mv -f $@.missed $@

%.manifest: %
	kls --manifest $< -o $@

release_sign_it = kls --sign $(K_KEY) $(K_SIGN_FLAGS) $< -o $@
release_has_key = @test -n '$(K_KEY)' || { echo 'release.mk: K_KEY names the private key that signs $<' >&2; exit 2; }

%.kmf.sig: %.kmf %.ppl.jsonl .release-sign
	$(release_has_key)
	$(release_sign_it)

%.gguf.sig: %.gguf %.ppl.jsonl .release-sign
	$(release_has_key)
	$(release_sign_it)
