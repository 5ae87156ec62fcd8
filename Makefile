# ktools: the only makefile. No source file is named: a file in the right folder is built and registered.
#
#   $(B)/gen/      generated: version.h, *.list (X(name) one a line), web/*.inc; rewritten only when changed
#   $(B)/obj/      one object a source, with its depfile
#   $(B)/libcore.a libcore, formats, evals, kernels
#   $(B)/bin/      the tools: cmd/k*.c, each with cmd/cli.c and the folder cmd/NAME/ where there is one
#   $(B)/models/   those that compute, with models of machines that are not here: kernels/*sim/, for tests
#   $(B)/ktest $(B)/kcheck   unit tests; kernels against the reference
#
# Variants live side by side: make B=build/mine CFLAGS=-O3. Honoured: CC CFLAGS LDFLAGS AR DESTDIR prefix V.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
SHELL = /bin/sh

B ?= build
CC ?= cc
AR ?= ar
OBJCOPY ?= objcopy
prefix ?= /usr/local
release = 0.2.0

K_VARIANT ?=
K_LEVEL_VARIANT ?=
# What nobody calls is not linked, and there are no tables to unwind by but the debugger's own: a tenth of a tool.
K_CFLAGS = -std=gnu11 -O2 -g -Wall -Wextra -ffp-contract=off -fno-strict-aliasing -ffunction-sections -fno-asynchronous-unwind-tables \
	-I. -I$(B)/gen -pthread $(K_VARIANT)
K_LDFLAGS = -pthread -Wl,--as-needed -Wl,--gc-sections $(K_VARIANT)
K_LIBS = -ljansson -lpcre2-8 -lcrypto -lcurl -lz -lm -ldl
libs_kserve = $(if $(libedit),-ledit) -levent_openssl -levent_core -lssl

comma := ,
stems = $(basename $(notdir $(1)))

# --- kernel levels: a folder with a flags.mk that sets flags_NAME and need_NAME, and best_NAME where only some CPUs are the better for it -----------------------------------------

quiet_goals = cuda clean help deps check demo smollm2 dist format layers check-asan check-tsan check-oom check-bytes fuzz
working = $(if $(MAKECMDGOALS),$(filter-out $(quiet_goals),$(MAKECMDGOALS)),all)

level_folders := $(patsubst %/flags.mk,%,$(wildcard kernels/*/flags.mk))
include $(addsuffix /flags.mk,$(level_folders))
compiles = $(shell echo 'int x;' | $(CC) $(flags_$(1)) -x c -fsyntax-only - >/dev/null 2>&1 && echo $(1))
ifneq ($(working),)
levels_found := $(foreach l,$(notdir $(level_folders)),$(call compiles,$(l)))
$(foreach l,$(filter-out $(levels_found),$(notdir $(level_folders))),\
	$(info ktools: $(CC) refuses '$(strip $(flags_$(l)))': level $(l) is left out))
endif
# A level that needs more of the CPU ranks higher: lowest first.
two = $(if $(word 10,$(1)),$(words $(1)),0$(words $(1)))
levels := $(notdir $(sort $(foreach l,$(levels_found),$(call two,$(need_$(l)))/$(l))))

# --- libraries that a build may lack: what uses them is left out -----------------------------------------------------------

hash := \#
has_header = $(shell echo '$(hash)include <$(1)>' | $(CC) $(CPPFLAGS) $(CFLAGS) -x c -fsyntax-only - >/dev/null 2>&1 && echo yes)
ifneq ($(working),)
uring := $(call has_header,liburing.h)
$(if $(uring),,$(info ktools: liburing.h is missing: io_uring is left out))
libedit := $(call has_header,histedit.h)
$(if $(libedit),,$(info ktools: histedit.h is missing: kserve --chat has no line editing))
# Addresses that loading fixes up, packed: 80 KB of a tool. glibc knows of it from 2.36 on; a linker that does not says so.
relr := $(shell printf '%s\n' '$(hash)include <features.h>' '$(hash)if !__GLIBC_PREREQ(2, 36)' '$(hash)error' '$(hash)endif' 'int main(void) { return 0; }' | \
	$(CC) -x c - -Wl,-z,pack-relative-relocs -o /dev/null 2>&1 | grep -q . || echo -Wl,-z,pack-relative-relocs)
endif
K_LDFLAGS += $(relr)
K_LIBS += $(if $(uring),-luring)

# --- sources -----------------------------------------------------------------------------------------------------------

# The kernels of the CUDA backend, read by the C compiler for the simulator: every access to memory calls it (kernels/cudasim/sim.c). The
# names that the compiler gives those calls are changed, so that the real sanitizer can watch the rest of the program.
cu_src := $(wildcard kernels/cuda/*.cu)
sim_flags = -std=gnu11 -O1 -g -Wall -Wextra -ffp-contract=off -fno-strict-aliasing -fno-tree-vectorize -fsanitize=thread,bounds -I. -x c
ifneq ($(working),)
sim := $(if $(findstring fsanitize=thread,$(K_VARIANT)),,$(shell echo 'int x;' | $(CC) $(sim_flags) -c -o /dev/null - >/dev/null 2>&1 && \
	command -v $(OBJCOPY)))
$(if $(sim),,$(info ktools: no simulator of CUDA: $(CC) has no -fsanitize=thread$(comma) this build uses it$(comma) or $(OBJCOPY) is missing))
endif
sim_obj := $(if $(sim),$(patsubst kernels/cuda/%.cu,$(B)/obj/kernels/cudasim/%.o,$(cu_src)))

lib_src := $(wildcard libcore/*.c libcore/qtype/*.c libcore/arch/*.c formats/*.c evals/*.c kernels/*.c kernels/cpu/*.c kernels/cuda/*.c) \
	$(foreach l,$(filter-out %sim,$(levels)),$(wildcard kernels/$(l)/*.c))
# Models of machines are in kcheck, ktest and $(B)/models alone: nobody who uses a tool wants them, and they are a quarter of it. What lists
# levels and backends is compiled a second time for those.
model_src := $(if $(sim),$(wildcard kernels/cudasim/*.c)) $(foreach l,$(filter %sim,$(levels)),$(wildcard kernels/$(l)/*.c))
list_src := kernels/kk.c libcore/backend.c
model_tools := kconvert kquant keval kbench kserve
lib_src := $(filter-out $(if $(uring),,libcore/io_uring.c),$(lib_src))
tool_src := $(wildcard cmd/k*.c)
tools := $(call stems,$(tool_src))
cli_src := $(wildcard cmd/cli.c)
parts_of = $(filter-out $(if $(libedit),,cmd/kserve/lines_edit.c),$(wildcard cmd/$(1)/*.c))
part_src := $(foreach t,$(tools),$(call parts_of,$(t)))
test_src := $(filter-out $(if $(sim),,kernels/cudasim/%) $(foreach l,$(filter-out $(levels),$(notdir $(level_folders))),kernels/$(l)/%),$(wildcard */test/*_test.c */*/test/*_test.c libcore/test/ktest.c))
sim_test_obj := $(if $(sim),$(patsubst %.cu,$(B)/obj/%.o,$(wildcard kernels/cudasim/test/*.cu)))
kcheck_src := $(wildcard kernels/check/*.c)
fuzz_src := $(wildcard formats/fuzz/*.c)
fuzzers := $(filter-out fuzz_replay,$(call stems,$(wildcard formats/fuzz/fuzz_*.c)))
headers := $(wildcard libcore/*.h libcore/*/*.h formats/*.h formats/*/*.h evals/*.h cmd/*.h cmd/*/*.h kernels/*.h kernels/cpu/*.h kernels/cuda/*.h kernels/cudasim/*.h \
	kernels/check/*.h) $(foreach l,$(filter-out cpu,$(levels)),$(wildcard kernels/$(l)/*.h))
# Pictures there are for the docs.
web := $(filter-out %.png,$(wildcard cmd/*/web/*))

all_src := $(sort $(lib_src) $(model_src) $(tool_src) $(cli_src) $(part_src) $(test_src) $(kcheck_src) $(fuzz_src))
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
list_obj = $(patsubst %.c,$(B)/obj/models/%.o,$(1))
model_obj = $(call obj,$(model_src)) $(sim_obj) $(call list_obj,$(list_src))
bins := $(tools:%=$(B)/bin/%)

.PHONY: all deps check check-run check-build check-headers layers check-asan check-tsan check-oom check-big check-compare check-bytes bench man install uninstall dist clean \
	help format demo smollm2 fuzz fuzzers FORCE
all: $(bins)

# --- generated ----------------------------------------------------------------------------------------------------------

# $(call update,TEXT-MAKING COMMAND): replaces $@ only when the text is another one.
update = @mkdir -p $(@D); { $(1); } > $@.new; if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi
# The names NAME of "const struct k_KIND k_KIND_NAME" in files. A file is registered by what it defines.
defines = $(if $(2),sed -n 's/^const struct k_$(1) k_$(1)_\([A-Za-z0-9_]*\).*/X(\1)/p' $(2),:)
names = $(if $(strip $(1)),printf 'X(%s)\n' $(1),:)
# $(call lists,HOW,NAMES): real ones, then models, for those who want them.
lists = $(call $(1),$(filter-out %sim,$(2))); echo '$(hash)ifdef K_MODELS'; $(call $(1),$(filter %sim,$(2))); echo '$(hash)endif'
gen_names = version.h flags qtypes.list archs.list formats.list evals.list blocks.list backends.list levels.list \
	layouts.list objects.list ioways.list lineways.list
gen := $(addprefix $(B)/gen/,$(gen_names)) $(foreach w,$(web),$(B)/gen/web/$(notdir $(w)).gz.inc)

describe = $$( { test -e .git && git describe --tags --always --dirty 2>/dev/null; } || cat .version 2>/dev/null || echo $(release))
$(B)/gen/version.h: FORCE
	$(call update,printf '#define K_VERSION "%s"\n#define K_DESCRIBE "%s"\n' "$(release)" "$(describe)")
$(B)/gen/flags: FORCE
	$(call update,printf '%s\n' '$(CC) $(K_CFLAGS) $(CFLAGS) $(CPPFLAGS) $(K_LEVEL_VARIANT)' '$(sim_flags)' '$(foreach l,$(levels) cuda formats kserve,$(l): $(flags_$(l));)')
$(B)/gen/objects.list: FORCE
	$(call update,printf '%s\n' $(lib_src))
$(B)/gen/qtypes.list: FORCE
	$(call update,$(call names,$(call stems,$(wildcard libcore/qtype/*.c))))
$(B)/gen/archs.list: FORCE
	$(call update,$(call names,$(call stems,$(wildcard libcore/arch/*.c))))
$(B)/gen/formats.list: FORCE
	$(call update,$(call defines,format,$(wildcard formats/*.c)))
$(B)/gen/evals.list: FORCE
	$(call update,$(call defines,eval,$(wildcard evals/*.c)))
$(B)/gen/blocks.list: FORCE
	$(call update,$(call defines,block,$(wildcard libcore/block_*.c)))
$(B)/gen/layouts.list: FORCE
	$(call update,$(call defines,layout,$(wildcard libcore/chat_*.c)))
$(B)/gen/backends.list: FORCE
	$(call update,$(call lists,names,$(filter-out $(if $(sim),,cudasim),$(patsubst %_backend,%,$(call stems,$(wildcard kernels/*/*_backend.c))))))
# Best first.
$(B)/gen/ioways.list: FORCE
	$(call update,$(call names,$(if $(uring),uring) threads))
$(B)/gen/lineways.list: FORCE
	$(call update,$(call names,$(if $(libedit),edit)))
# Levels, lowest first: X(name) and XL(name, "features it needs", "those it is the best with; none: always"); define whichever is wanted.
names_needs = $(if $(strip $(1)),printf '%s\n' $(foreach l,$(1),'XL($(l)$(comma) "$(strip $(need_$(l)))"$(comma) "$(strip $(best_$(l)))")'),:)
$(B)/gen/levels.list: FORCE
	$(call update,echo '#ifdef X'; $(call lists,names,$(levels)); echo '#endif'; echo '#ifdef XL'; $(call lists,names_needs,$(levels)); echo '#endif')
# Files that a tool carries inside, packed: const unsigned char x[] = { #include "web/NAME.gz.inc" };
define web_rule
$(B)/gen/web/$(notdir $(1)).gz.inc: $(1)
	@mkdir -p $$(@D); gzip -9n < $$< | od -An -v -tu1 | sed 's/[0-9][0-9]*/&,/g' > $$@
endef
$(foreach w,$(web),$(eval $(call web_rule,$(w))))

# One word a file; make V=1 shows the commands.
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $(2);)

# --- objects ------------------------------------------------------------------------------------------------------------

# Objects in kernels/LEVEL/ get the level's flags, and behind them K_LEVEL_VARIANT.
# What tells a GPU what to do waits for it anyway, and lies in every tool.
flags_cuda := -Os
# Readers and writers of formats are in every tool, too: heads and names, while the values pass through libcore.
flags_formats := -Os
# What is kserve's alone hands requests on and text back: a token passes through few of its lines.
flags_kserve := -Os
level_of = $(flags_$(word 2,$(subst /, ,$(1)))) $(if $(filter $(levels),$(word 2,$(subst /, ,$(1)))),$(K_LEVEL_VARIANT))
$(B)/obj/kernels/%.o: kernels/%.c $(B)/gen/flags | $(gen)
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(K_CFLAGS) $(call level_of,$<) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/obj/%.o: %.c $(B)/gen/flags | $(gen)
	@mkdir -p $(@D)
	$(call say,CC,$<) $(CC) $(K_CFLAGS) $(flags_$(firstword $(subst /, ,$<))) $(flags_$(word 2,$(subst /, ,$<))) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/obj/models/%.o: %.c $(B)/gen/flags | $(gen)
	@mkdir -p $(@D)
	$(call say,CC,$< with models) $(CC) $(K_CFLAGS) -DK_MODELS $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

sim_cc = $(call say,SIM,$<) $(CC) $(sim_flags) -MMD -MP -MT $@ -MF $@.d -c -o $@.new $< && \
	$(OBJCOPY) --redefine-syms=kernels/cudasim/sim_names.txt $@.new $@ && rm -f $@.new
$(B)/obj/kernels/cudasim/%.o: kernels/cuda/%.cu kernels/cudasim/sim_names.txt $(B)/gen/flags
	@mkdir -p $(@D)
	$(sim_cc)
$(B)/obj/kernels/cudasim/test/%.o: kernels/cudasim/test/%.cu kernels/cudasim/sim_names.txt $(B)/gen/flags
	@mkdir -p $(@D)
	$(sim_cc)
$(B)/libcore.a: $(call obj,$(lib_src)) $(B)/gen/objects.list
	@rm -f $@
	$(call say,AR,$@) $(AR) rcs $@ $(filter %.o,$^)

# The CUDA backend (kernels/cuda/cuda_backend.c finds it): code for each kind of card since Turing, and for later ones. -fmad=false: where sums are
# fused the kernels say so. The runtime is linked in, the driver is the machine's.
NVCC ?= nvcc
cuda_archs ?= 75 80 86 89 90a
cuda_last = $(patsubst %a,%,$(lastword $(cuda_archs)))
nv_flags = -std=c++17 -O3 -fmad=false -I. -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra -Werror all-warnings \
	$(foreach a,$(cuda_archs),-gencode arch=compute_$(a),code=sm_$(a)) -gencode arch=compute_$(cuda_last),code=compute_$(cuda_last)
nv_obj := $(patsubst %.cu,$(B)/obj/%.cu.o,$(cu_src) $(wildcard kernels/cuda/so/*.cu))
$(B)/obj/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,NV,$<) $(NVCC) $(nv_flags) -MMD -MP -MF $@.d -MT $@ -c -o $@ $<
$(B)/lib/ktools/ktools-cuda.so: $(nv_obj)
	@mkdir -p $(@D)
	$(call say,NV,$@) $(NVCC) -shared -cudart static -Xlinker --as-needed -o $@ $^ -ldl
.PHONY: cuda check-cuda bench-cuda
# Both say "no device" where there is none, and where there is no nvcc.
check-cuda bench-cuda: $(bins) $(model_tools:%=$(B)/models/%) $(B)/kcheck
	+@if test "$$DEVICE" != cudasim && command -v $(NVCC) >/dev/null; then $(MAKE) --no-print-directory cuda; fi
	@B='$(B)' sh scripts/$@.sh
cuda:
	@command -v $(NVCC) >/dev/null || { echo 'ktools: there is no $(NVCC): the CUDA backend cannot be built' >&2; exit 1; }
	+@$(MAKE) --no-print-directory $(B)/lib/ktools/ktools-cuda.so
-include $(nv_obj:=.d)

link = $(call say,LD,$@) $(CC) $(K_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@
# $(call tool_rule,NAME,FOLDER,OBJECTS): what is linked beside its own.
define tool_rule
$(B)/$(2)/$(1): $(call obj,cmd/$(1).c $(call parts_of,$(1))) $(3) $(B)/libcore.a
	@mkdir -p $$(@D)
	$$(link) $$^ $$(libs_$(1)) $$(K_LIBS)
endef
$(foreach t,$(tools),$(eval $(call tool_rule,$(t),bin,$(call obj,$(cli_src)))))
$(foreach t,$(model_tools),$(eval $(call tool_rule,$(t),models,$(call list_obj,$(cli_src)) $(model_obj))))

$(B)/ktest: $(call obj,$(test_src) $(filter-out $(list_src),$(lib_src))) $(sim_test_obj) $(model_obj)
	$(link) $^ $(K_LIBS)
$(B)/kcheck: $(call obj,$(kcheck_src)) $(model_obj) $(B)/libcore.a
	$(link) $^ $(K_LIBS)

# One program a reader. Without a fuzzer it replays files; with clang, `make fuzz` links libFuzzer in.
fuzz_main ?= $(wildcard formats/fuzz/fuzz_replay.c)
define fuzz_rule
$(B)/fuzz/$(1): $(call obj,formats/fuzz/$(1).c $(fuzz_main)) $(B)/libcore.a
	@mkdir -p $$(@D)
	$$(link) $$(fuzz_flags) $$^ $$(K_LIBS)
endef
$(foreach f,$(fuzzers),$(eval $(call fuzz_rule,$(f))))
fuzzers: $(fuzzers:%=$(B)/fuzz/%)

-include $(patsubst %.c,$(B)/obj/%.d,$(all_src)) $(patsubst %.c,$(B)/obj/models/%.d,$(list_src) $(cli_src)) $(sim_obj:.o=.o.d) $(sim_test_obj:.o=.o.d)

# --- checks -------------------------------------------------------------------------------------------------------------

# Each header is compiled alone. kernels/tmpl holds bodies that want macros, not headers.
$(B)/headers/%.h.ok: %.h $(B)/gen/flags | $(gen)
	@mkdir -p $(@D)
	@$(CC) $(K_CFLAGS) $(if $(filter kernels/%,$<),$(call level_of,$<)) -Wno-unused-function -MMD -MP -MT $@ -MF $@.d -fsyntax-only -x c $<
	@touch $@
check-headers: $(headers:%=$(B)/headers/%.ok)
-include $(headers:%=$(B)/headers/%.ok.d)

layers:
	@sh scripts/layers.sh

deps:
	@sh scripts/deps.sh

check_programs = $(bins) $(model_tools:%=$(B)/models/%) $(if $(filter libcore/test/ktest.c,$(test_src)),$(B)/ktest) $(if $(kcheck_src),$(B)/kcheck) \
	$(fuzzers:%=$(B)/fuzz/%)
check-build: $(check_programs)
check-run: check-build
	@MAKE='$(MAKE)' B='$(B)' sh scripts/check.sh $(CHECK_PARTS)
# Parsed again after the dependencies came, so that compiler tests see the compiler. Without -j: as many jobs as CPUs.
again = +$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$$(nproc 2>/dev/null || echo 2))
check: deps
	@$(again) check-run

check-asan: deps
	@$(again) B=build/asan check-run CHECK_PARTS='ktest kcheck tools fuzz' \
		K_VARIANT='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DK_ASAN'
# The kernels' code is watched in ktest and kcheck; in the server it would make minutes of seconds, and what it is called with is what matters.
tsan_variant = K_VARIANT='-fsanitize=thread -fno-omit-frame-pointer -DK_TSAN'
check-tsan: deps
	@$(again) B=build/tsan check-run CHECK_PARTS='ktest kcheck' $(tsan_variant)
	@$(again) B=build/tsan-serve check-run CHECK_PARTS=serve check_programs='$$(bins)' K_LEVEL_VARIANT=-fno-sanitize=thread $(tsan_variant)
# Every allocation, read and write of a row of command lines fails once (cmd/test/faults.sh).
check-oom: deps
	@$(again) B=build/oom all levels=ref sim= K_VARIANT='-fsanitize=address -fno-omit-frame-pointer -DK_FAULTS -DK_ASAN'
	@K_BIN=build/oom/bin K_FAULT_BIN=build/oom/bin K_FAULT_STEP=1 MAKE='$(MAKE)' sh cmd/test/faults.sh

# Every output of every build, level and thread count (cmd/test/bytes.sh).
check-bytes: deps
	@$(again) all
	@K_BYTES=all K_BIN='$(B)/bin' B='$(B)' MAKE='$(MAKE)' bash cmd/test/bytes.sh
# A checkpoint larger than memory, and throughput beside dd: K_BIG_GB, K_DENSE_GB, K_BIG_DIR.
check-big: $(bins)
	@K_BIN='$(B)/bin' bash scripts/check-big.sh
# How often kbench compare is wrong: a command against itself, and against one with 3 % more work (BLOCKS=30).
check-compare: $(bins)
	@K_BIN='$(B)/bin' bash scripts/check-compare.sh

# A line a bar of what the engine must reach, beside what bounds it: K_BENCH_REPS, K_BENCH_MEMORY, K_BENCH_ROWS.
bench: $(bins)
	@B='$(B)' bash scripts/bench.sh

FUZZ_SECONDS ?= 600
fuzz:
	@+set -e; if command -v clang >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory B=build/fuzz CC=clang levels=ref fuzz_main= fuzz_flags=-fsanitize=fuzzer \
			K_VARIANT='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DK_ASAN' fuzzers && \
		for f in $(fuzzers); do mkdir -p build/fuzz/corpus/$$f; \
			build/fuzz/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
				-artifact_prefix=build/fuzz/$$f- build/fuzz/corpus/$$f testdata/bad || exit 1; \
		done; \
	else \
		echo 'ktools: clang is not installed: the readers get mutated files without coverage feedback'; \
		$(MAKE) --no-print-directory B=build/asan fuzzers \
			K_VARIANT='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DK_ASAN' && \
		for f in $(fuzzers); do build/asan/fuzz/$$f --mutate $(FUZZ_SECONDS) testdata || exit 1; done; \
	fi

# --- pages, installation, packages ---------------------------------------------------------------------------------------

pages := $(tools:%=$(B)/man/%.1) $(patsubst formats/%,$(B)/man/%,$(wildcard formats/*.[1-9]))
man: $(pages)
$(B)/man/%.1: $(B)/bin/%
	@mkdir -p $(@D)
	$< --help=man > $@.new && mv -f $@.new $@
$(B)/man/%.5: formats/%.5
	@mkdir -p $(@D)
	cp $< $@

at = '$(DESTDIR)$(prefix)'
install: all man
	install -d $(at)/bin $(at)/share/man/man1 $(at)/share/man/man5 $(at)/share/bash-completion/completions $(at)/share/zsh/site-functions \
		$(at)/share/fish/vendor_completions.d $(at)/share/ktools/ci
	install -m 755 $(bins) $(at)/bin
	if test -f $(B)/lib/ktools/ktools-cuda.so; then install -d $(at)/lib/ktools && install -m 755 $(B)/lib/ktools/ktools-cuda.so $(at)/lib/ktools; fi
	install -m 644 $(filter %.1,$(pages)) $(at)/share/man/man1
	$(if $(filter %.5,$(pages)),install -m 644 $(filter %.5,$(pages)) $(at)/share/man/man5)
	for t in $(tools); do \
		$(B)/bin/$$t --help=bash > $(at)/share/bash-completion/completions/$$t && \
		$(B)/bin/$$t --help=zsh > $(at)/share/zsh/site-functions/_$$t && \
		$(B)/bin/$$t --help=fish > $(at)/share/fish/vendor_completions.d/$$t.fish || exit 1; \
	done
	install -m 644 scripts/release.mk scripts/parts-make.mk scripts/serve/* $(at)/share/ktools
	install -m 644 scripts/ci/* $(at)/share/ktools/ci
	install -m 755 scripts/parts-parallel.sh scripts/parts-slurm.sh $(at)/share/ktools

# What install puts there, by its names: what others put beside it stays.
uninstall:
	rm -f $(tools:%=$(at)/bin/%) $(tools:%=$(at)/share/man/man1/%.1) $(patsubst $(B)/man/%,$(at)/share/man/man5/%,$(filter %.5,$(pages))) \
		$(tools:%=$(at)/share/bash-completion/completions/%) $(tools:%=$(at)/share/zsh/site-functions/_%) \
		$(tools:%=$(at)/share/fish/vendor_completions.d/%.fish) $(at)/lib/ktools/ktools-cuda.so \
		$(patsubst %,$(at)/share/ktools/%,$(notdir $(wildcard scripts/serve/*)) release.mk parts-make.mk parts-parallel.sh parts-slurm.sh) \
		$(patsubst scripts/%,$(at)/share/ktools/%,$(wildcard scripts/ci/*))
	for d in lib/ktools share/ktools/ci share/ktools; do test ! -d $(at)/$$d || rmdir --ignore-fail-on-non-empty $(at)/$$d || exit 1; done

# What git knows, and nothing that lies about: an unpacked archive has no list of it.
dist:
	@test -e .git || { echo 'ktools: this is no git checkout, which make dist wants: it packs what git tracks' >&2; exit 1; }
	@mkdir -p $(B)
	@set -e; v=$(release); d=$(describe); rm -rf $(B)/ktools-$$v; mkdir $(B)/ktools-$$v; \
	git ls-files -z | tar --null -T - -cf - | tar -xf - -C $(B)/ktools-$$v; echo "$$d" > $(B)/ktools-$$v/.version; \
	tar --sort=name --owner=0 --group=0 --numeric-owner -C $(B) -czf $(B)/ktools-$$v.tar.gz ktools-$$v; \
	rm -rf $(B)/ktools-$$v; echo $(B)/ktools-$$v.tar.gz

demo: deps
	@$(again) all
	@B='$(B)' bash scripts/demo.sh

smollm2:
	@B='$(B)' bash scripts/smollm2.sh

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(B)

help:
	@echo 'make            the tools, in $(B)/bin/'
	@echo 'make deps       install the packages that the build needs (Debian, Ubuntu), or say which'
	@echo 'make check      all tests; the last line is "N passed, N failed, N skipped"'
	@echo 'make demo       dependencies, build, convert, quantise, evaluate and serve the small model in testdata/'
	@echo 'make smollm2    fetch a small pretrained model to build/models/'
	@echo 'make check-asan check-tsan check-oom   the tests under sanitizers; with every allocation, read, write failing once'
	@echo 'make check-bytes the same output from {gcc, clang} x {-O0, -O2, -O3} x levels x threads'
	@echo 'make check-big  a checkpoint larger than memory through 512 MiB, throughput beside dd (K_BIG_GB=30 K_DENSE_GB=4 K_BIG_DIR=)'
	@echo 'make check-compare  how often kbench compare is wrong, over 220 comparisons (10 minutes on a quiet machine)'
	@echo 'make check-headers layers              each header compiled alone; who may include whom'
	@echo 'make fuzz       ten minutes a reader (FUZZ_SECONDS)'
	@echo 'make bench      what the engine reaches beside what bounds it, a line a bar (K_BENCH_MEMORY=12G K_BENCH_REPS=9)'
	@echo 'make cuda       the backend for NVIDIA GPUs, in $(B)/lib/ktools/: wants nvcc (CUDA 12 or 13)'
	@echo 'make check-cuda bench-cuda             on a GPU: kernels against the CPU, golden sets, compute-sanitizer; tokens a second'
	@echo 'make man        manual pages, in $(B)/man/'
	@echo 'make install    tools, pages, completions; prefix=$(prefix) DESTDIR=;   make uninstall   removes them'
	@echo 'make dist       a source archive;   make format   clang-format;   make clean'
	@echo 'variables       CC CFLAGS LDFLAGS B=build/x; V=1 shows the commands'
