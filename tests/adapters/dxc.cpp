// Compiles HLSL files with Microsoft's DXC as a library, which Debian has no package of: `tests/adapters/shaders` says
// where it comes from. Reads lines "FILE ENTRY", prints what is refused and "N files, N refused".
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "dxcapi.h"

int main() {
    IDxcUtils *utils = nullptr;
    IDxcCompiler3 *compiler = nullptr;
    if (DxcCreateInstance(CLSID_DxcUtils, __uuidof(IDxcUtils), (void **)&utils) != S_OK ||
        DxcCreateInstance(CLSID_DxcCompiler, __uuidof(IDxcCompiler3), (void **)&compiler) != S_OK) {
        std::cerr << "DXC does not start\n";
        return 1;
    }
    int files = 0, refused = 0;
    for (std::string file, entry; std::cin >> file >> entry; files++) {
        std::ifstream in(file);
        std::string text{std::istreambuf_iterator<char>(in), {}};
        std::wstring name(entry.begin(), entry.end());
        // As wgpu does; -Vd: the validator that signs is not part of the library.
        const wchar_t *arguments[] = {L"-E", name.c_str(), L"-T", L"cs_6_0", L"-HV", L"2018", L"-Vd", L"-no-warnings"};
        DxcBuffer source{text.data(), text.size(), DXC_CP_UTF8};
        IDxcResult *result = nullptr;
        HRESULT status = compiler->Compile(&source, arguments, 8, nullptr, __uuidof(IDxcResult), (void **)&result);
        if (status == S_OK) result->GetStatus(&status);
        if (status != S_OK || text.empty()) {
            refused++;
            IDxcBlobUtf8 *message = nullptr;
            if (result) result->GetOutput(DXC_OUT_ERRORS, __uuidof(IDxcBlobUtf8), (void **)&message, nullptr);
            std::string what = message ? message->GetStringPointer() : "no message";
            std::cout << file << ": " << what.substr(0, 400) << "\n";
        }
        if (result) result->Release();
    }
    std::cout << files << " files, " << refused << " refused by DXC\n";
    return refused != 0 || files == 0;
}
