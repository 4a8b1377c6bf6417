module board

go 1.19
