# release.mk: a release as make sees it. Include it from a makefile of yours:
#
#     K_KEY = release.pem
#     K_TEXT = wiki.test.txt
#     K_PPL_BARS = ppl<7.5
#     K_KLD_BARS = kld_mean<0.02
#     include /usr/local/share/ktools/release.mk
#
# and `make k2.i4.kmf.sig` converts the folder k2/, quantises, holds the result against every gate and signs.
#
#     X.kmf          from the folder X/         K_CONVERT_FLAGS
#     X.i4.kmf       from X.kmf                 K_QUANT_FLAGS, K_LOSS_BARS (of --fail-if: experts.rel_rms>0.1)
#     X.gguf         from X.kmf                 K_GGUF_FLAGS
#     X.manifest     digests of X, for sha256sum -c
#     X.sig          X.kmf or X.gguf, signed    K_KEY (a private key in PEM), K_SIGN_FLAGS; only when every gate is passed
#     X.checked      X against X.sig            K_PUB (the public key in PEM): what whoever publishes or fetches X asks for
#
# Gates of X.kmf. A report X.TASK.jsonl, for CI X.TASK.xml as JUnit, and bars of --bar (ppl<25; no blanks in a bar):
#
#     ppl            K_TEXT                     K_PPL_FLAGS, K_PPL_BARS; each release has this one, each other one where its file is named
#     choice gen needle toolcall agent parity   K_CHOICE, K_CHOICE_FLAGS, K_CHOICE_BARS, ...
#     kld            of X.i4.kmf from X.kmf     K_KLD_FLAGS, K_KLD_BARS, on K_TEXT; where there are bars
#     speed          K_BASELINE                 K_SPEED_RUN (a command, the model is put behind it), K_SPEED_FLAGS of kbench compare, K_SPEED_BARS; is X
#                                               slower than the model of the last release, or, with a bar (ci95_low<1.02), for sure by more
#                                               than that? Timed when the other gates of X are done
#     X.kmf.size     K_SIZE_MAX                 bytes of X.kmf, at most so many
#
# Set the variables before the include, or on make's command line. A gate that is missed stops make: the report is kept as X.TASK.jsonl.missed,
# and no signature is left. Whoever changes a variable gets what depends on it made again (what they were is kept in .release-*). Every recipe
# writes beside its target and renames, so a killed make leaves no half target, and -j is safe. Flags may use $@ and $*:
# K_QUANT_FLAGS = --preset k2-thinking --ledger $*.ledger.jsonl; with K_CONVERT_FLAGS = --resume a killed conversion goes on where it was.

K_QUANT_FLAGS ?= -t i4g32
K_PPL ?= $(K_TEXT)
K_SPEED_RUN ?= kbench decode --tokens 32 --reps 1 -m
K_SPEED_FLAGS ?= --ignore-output

# Tasks of keval that judge X.kmf by a file, and the names of their variables. What a step is asked for is in release_STEP.
release_tasks = ppl:PPL choice:CHOICE gen:GEN needle:NEEDLE toolcall:TOOLCALL agent:AGENT parity:PARITY
release_task = $(firstword $(subst :, ,$(1)))
release_name = $(lastword $(subst :, ,$(1)))
release_gates = $(foreach t,$(release_tasks),$(if $(filter ppl:%,$(t))$(K_$(call release_name,$(t))),$(call release_task,$(t))))
release_judged = $(foreach g,$(release_gates),%.$(g).jsonl)
release_reports = $(if $(K_SIZE_MAX),%.kmf.size) $(release_judged) $(if $(K_BASELINE),%.speed.jsonl)
release_of_i4 = $(if $(K_KLD_BARS),%.i4.kld.jsonl)

release_convert = $(K_CONVERT_FLAGS)
release_quant = $(K_QUANT_FLAGS) $(K_LOSS_BARS)
release_gguf = $(K_GGUF_FLAGS)
release_kld = $(K_TEXT) $(K_KLD_FLAGS) $(K_KLD_BARS)
release_speed = $(K_BASELINE) $(K_SPEED_RUN) $(K_SPEED_FLAGS) $(K_SPEED_BARS)
release_size = $(K_SIZE_MAX)
release_sign = $(K_KEY) $(K_SIGN_FLAGS)
release_check = $(K_PUB)
$(foreach t,$(release_tasks),$(eval release_$(call release_task,$(t)) = $$(K_$(call release_name,$(t))) $(foreach \
	w,FLAGS BARS,$$(K_$(call release_name,$(t))_$(w)))))

# It stands in a file that is written only when it is another one.
release_is = $(and $(findstring <$(1)>,<$(2)>),$(findstring <$(2)>,<$(1)>))
$(foreach s,convert quant gguf kld speed size sign check $(foreach t,$(release_tasks),$(call release_task,$(t))),$(if $(wildcard .release-$(s)),$(if \
	$(call release_is,$(file <.release-$(s)),$(release_$(s))),,$(file >.release-$(s),$(release_$(s)))),$(file >.release-$(s),$(release_$(s)))))

.PRECIOUS: %.kmf %.i4.kmf %.gguf %.kld.ref %.i4.kld.jsonl %.speed.jsonl %.kmf.size %.manifest %.kmf.sig %.i4.kmf.sig %.gguf.sig \
	%.i4.gguf.sig $(foreach t,$(release_tasks),%.$(call release_task,$(t)).jsonl)
release_each = $(foreach b,$(2),$(1) '$(b)')
release_unsign = @rm -f $@ $@.missed $(1).kmf.sig $(1).gguf.sig $(1).kmf.checked $(1).gguf.checked
release_needs = @test -n '$($(1))' || { echo 'release.mk: $(1) names $(2)' >&2; exit 2; }
# --bar of K_NAME_BARS, --report, --junit: a report has its name when it is whole and every bar holds.
release_report = $(call release_each,--bar,$(K_$(1)_BARS)) --junit $(@:.jsonl=.xml) --report $@.missed > /dev/null
release_keep = @mv -f $@.missed $@

%.kmf: %/ .release-convert
	@rm -f $@.sig $@.checked
	kconvert $(K_CONVERT_FLAGS) $< -o $@

%.i4.kmf: %.kmf .release-quant
	@rm -f $@.sig $@.checked
	kquant $(K_QUANT_FLAGS) $(call release_each,--fail-if,$(K_LOSS_BARS)) $< -o $@

%.gguf: %.kmf .release-gguf
	@rm -f $@.sig $@.checked
	kconvert --to gguf $(K_GGUF_FLAGS) $< -o $@

define release_rule
%.$(1).jsonl: %.kmf .release-$(1)
	$$(call release_needs,K_$(2),what $$< is judged by)
	$$(call release_unsign,$$*)
	keval $(1) -m $$< -f $$(K_$(2)) $$(K_$(2)_FLAGS) $$(call release_report,$(2))
	$$(release_keep)
endef
$(foreach t,$(release_tasks),$(eval $(call release_rule,$(call release_task,$(t)),$(call release_name,$(t)))))

# The reference is made once for a text. What is there of one for another text is not continued.
%.kld.ref: %.kmf .release-kld
	@test ! $@.partial -ot .release-kld || rm -f $@.partial
	keval kld -m $< -f $(K_TEXT) $(K_KLD_FLAGS) --save-ref $@ > /dev/null

%.i4.kld.jsonl: %.i4.kmf %.kld.ref
	$(call release_unsign,$*.i4)
	keval kld -m $< -f $(K_TEXT) $(K_KLD_FLAGS) --ref $*.kld.ref $(call release_report,KLD)
	$(release_keep)

%.speed.jsonl: %.kmf .release-speed $(K_BASELINE) | $(release_judged)
	$(call release_needs,K_BASELINE,the model that $< may not be slower than)
	$(call release_unsign,$*)
	kbench compare $(K_SPEED_FLAGS) $(call release_report,SPEED) -- $(K_SPEED_RUN) $(K_BASELINE) -- $(K_SPEED_RUN) $<
	$(release_keep)

%.kmf.size: %.kmf .release-size
	$(call release_unsign,$*)
	@n=$$(wc -c < $<) && { test $$n -le $(K_SIZE_MAX) || { echo "release.mk: $< has $$n bytes, wanted at most $(K_SIZE_MAX)" >&2; exit 1; }; } && \
		echo $$n > $@.new && mv -f $@.new $@

%.manifest: %
	kls --manifest $< -o $@

define release_signed
	$(call release_needs,K_KEY,the private key that signs $<)
	kls --verify $< > /dev/null
	kls --sign $(K_KEY) $(K_SIGN_FLAGS) $< -o $@
endef
%.kmf.sig: %.kmf $(release_reports) .release-sign
	$(release_signed)
%.gguf.sig: %.gguf $(release_reports) .release-sign
	$(release_signed)
%.i4.kmf.sig: %.i4.kmf $(subst %.,%.i4.,$(release_reports)) $(release_of_i4) .release-sign
	$(release_signed)
%.i4.gguf.sig: %.i4.gguf $(subst %.,%.i4.,$(release_reports)) $(release_of_i4) .release-sign
	$(release_signed)

%.checked: % %.sig .release-check
	$(call release_needs,K_PUB,the public key that $< is checked with)
	@rm -f $@
	kls --check-sign $(K_PUB) --sig $<.sig $<
	@echo $< > $@.new && mv -f $@.new $@
