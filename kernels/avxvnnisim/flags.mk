flags_avxvnnisim = -mavx2 -mfma -mf16c -O1 -DUNROLL= -fno-trapping-math
need_avxvnnisim = avx2 fma f16c
