flags_amxsim = -mavx2 -mfma -mf16c -O1 -DUNROLL= -fno-trapping-math -Wno-psabi
need_amxsim = avx2 fma f16c
