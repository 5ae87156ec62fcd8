# parts-make.mk: one container made in parts by make's own jobs.
#
#     make -f parts-make.mk -j 8 MODEL=hf/ OUT=k2.kmf PARTS=64
#
# A part that was cut off goes on where it was; with OUT on a shared file system, several machines may each run
# `make -f parts-make.mk MODEL=... OUT=... PARTS=64 parts FIRST=1 LAST=32` and one of them the whole.

MODEL ?= $(error MODEL: which checkpoint)
OUT ?= $(error OUT: which file)
PARTS ?= 8
FIRST ?= 1
LAST ?= $(PARTS)
FLAGS ?=
this := $(lastword $(MAKEFILE_LIST))
.PHONY: parts

$(OUT): $(MODEL)
	@+$(MAKE) --no-print-directory -f $(this) parts
	kconvert --seal $@

parts: $(foreach k,$(shell seq $(FIRST) $(LAST)),part-$(k))
part-%:
	kconvert $(FLAGS) $(MODEL) --part $*/$(PARTS) --resume -o $(OUT)
